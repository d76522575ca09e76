export function alone<T>(lock: string, doing: string, work: () => Promise<T>, say?: (line: string) => void): Promise<T>
