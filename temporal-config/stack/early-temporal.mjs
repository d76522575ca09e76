// Builds the `temporal` program while the packages are installed, on a machine where the SDK's download is not within
// reach: one after the other they were most of the time to a first delivery. Needs nothing but Node.
import { accessSync, constants, mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { alone } from '../alone.mjs'
import { buildWithGo, findGo } from './go.mjs'

/** The newest version that still builds by `go install`. */
export const GO_VERSION_BUILT = 'v1.5.1'
/** The oldest Go that builds it. */
const GO_MINOR = 25
/** Where the SDK downloads the program from. */
const DOWNLOAD = 'https://temporal.download/cli/default?arch=amd64&platform=linux'
const WITHIN_MS = 3000
/** All that a build may see of the environment: none of the service's settings and secrets. */
const PASSED = /^(PATH|HOME|USER|TMPDIR|XDG_[A-Z]+_HOME|GO[A-Z0-9]+|SSL_CERT_(FILE|DIR))$/

/** @type {import('./early-temporal.d.mts').temporalLock} */
export function temporalLock(folder) {
  return join(folder, 'temporal.lock')
}

/** @type {import('./early-temporal.d.mts').buildEarly} */
export async function buildEarly(env, say, download = DOWNLOAD) {
  if (env.TEMPORAL_CLI || env.TEMPORAL_ADDRESS) return
  // Only the SDK knows the way through a proxy.
  if (Object.keys(env).some((name) => /^(https?|all)_proxy$/i.test(name))) return
  const folder = join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'distributor')
  if ([...(env.PATH ?? '').split(delimiter), folder].some((place) => isProgram(join(place, 'temporal')))) return
  if (await answers(download)) return
  const go = await findGo()
  if (!go || go.major > 1 || go.minor < GO_MINOR) return
  mkdirSync(folder, { recursive: true })
  await alone(
    temporalLock(folder),
    'building Temporal',
    async () => {
      if (isProgram(join(folder, 'temporal'))) return
      say(`building Temporal ${GO_VERSION_BUILT} with Go meanwhile, once, about 2 to 3 minutes …`)
      const passed = Object.fromEntries(Object.entries(env).filter(([name]) => PASSED.test(name)))
      const target = `github.com/temporalio/cli/cmd/temporal@${GO_VERSION_BUILT}`
      await buildWithGo(go.program, { target, folder, name: 'temporal', env: passed, say })
      say('building Temporal: done')
    },
    say,
  )
}

function isProgram(file) {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

async function answers(url) {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(WITHIN_MS) })
    await response.body?.cancel()
    return response.ok
  } catch {
    return false
  }
}
