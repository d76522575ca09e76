export function alone<T>(lock: string, doing: string, work: () => Promise<T>, say?: (line: string) => void): Promise<T>

/** Whether a process of this machine has this id. */
export function alive(pid: number): boolean
