export interface Go {
  program: string
  major: number
  minor: number
}

/** The Go compiler of this machine, or undefined. */
export function findGo(): Promise<Go | undefined>

export interface GoBuild {
  /** `module/path/of/the/command@version`. */
  target: string
  folder: string
  /** The name of the program in `folder`. */
  name: string
  env: NodeJS.ProcessEnv
  say: (line: string) => void
}

/** Builds the command, without C, and returns its path; throws with the last lines that Go printed. */
export function buildWithGo(goProgram: string, build: GoBuild): Promise<string>
