// A port that cannot be opened, as the one line that a person at the terminal reads.
import { StartRefused } from './program.ts'

/** What a failed `listen` means; `prefix` is that of the settings `…_HOST` and `…_PORT`. */
export function portRefused(prefix: string, host: string, port: number, error: NodeJS.ErrnoException): StartRefused {
  switch (error.code) {
    case 'EADDRINUSE':
      return new StartRefused(`${prefix}_PORT: ${host}:${port} is taken by another program; 0 takes a free port`)
    case 'EACCES':
      return new StartRefused(`${prefix}_PORT: ${host}:${port} may not be opened by this user`)
    default:
      return new StartRefused(`${prefix}_HOST: ${host} cannot be listened on (${error.code ?? error.message})`)
  }
}
