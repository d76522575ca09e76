// The program of the shaping processes as one script. Started from its source files, a process needs five times as much
// processor time until it is ready (530 ms instead of 100), and each process serves one tenant at a time.
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { type BuildOptions, build, stop } from 'esbuild'

export interface Bundle {
  /** The script of each realm (realm/inside.ts). */
  realm: string
  /** The script of a shaping process (process.ts); it contains `realm`. */
  program: string
}

let made: Promise<Bundle> | undefined

/** Built once in each of our own processes. */
export function bundled(): Promise<Bundle> {
  made ??= make()
  made.catch(() => {
    made = undefined
  })
  return made
}

async function make(): Promise<Bundle> {
  try {
    const library = await readFile(fileURLToPath(import.meta.resolve('jsonata')), 'utf8')
    const names = [...library.matchAll(/staticFrame\.bind\('(\w+)'/g)].map(([, name]) => name!)
    if (names.length === 0) throw new Error('the declarations of the functions were not found in the source of jsonata')
    const realm = await script('realm/inside.ts', { format: 'iife', define: { BUILT_INS: JSON.stringify(names) } })
    const program = await script('process.ts', { format: 'cjs', define: { REALM_SOURCE: JSON.stringify(realm) } })
    return { realm, program }
  } finally {
    // esbuild runs in a process of its own, which is no longer needed.
    await stop()
  }
}

async function script(file: string, options: BuildOptions): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL(file, import.meta.url))],
    bundle: true,
    write: false,
    platform: 'node',
    target: 'node20',
    mainFields: ['module', 'main'],
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    logLevel: 'silent',
    ...options,
  })
  return outputFiles![0]!.text
}
