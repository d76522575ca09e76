export { distribute } from './distribute.ts'
export { notify } from './notify.ts'
export { probe } from './probe.ts'
export { maintain, sweep } from './sweep.ts'
