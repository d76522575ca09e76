// The realm's source where the shaping process would have it, for tests that shape in their own process.
import { bundled } from '../../../activities/shaping/bundle.ts'

const { realm } = await bundled()
Object.assign(globalThis, { REALM_SOURCE: realm })
