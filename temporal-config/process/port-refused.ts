// The error line for a port that cannot be opened.
import { StartRefused } from './program.ts'

/** Converts the error of a failed `listen`; `prefix` is that of the settings `…_HOST` and `…_PORT`. */
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
