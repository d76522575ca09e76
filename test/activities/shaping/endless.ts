// A program that has a payload shaped without end, to be killed in the middle of it.
import { createShaper } from '../../../activities/shaping/shaper.ts'

const words = { tenant_id: 'a', distribution_id: 'd', delivery_id: 'x', data_type: 't', accepted_at: new Date(0) }
const shaper = createShaper({ processes: 1 })
await shaper.shape('a', [{ include: ['a'] }], Buffer.from('{"a":1}'), words)
console.log('ready')
const payload = Buffer.from(JSON.stringify({ a: `${'a'.repeat(60)}!` }))
await shaper.shape('a', [{ expression: '$match(a, /(a+)+$/)' }], payload, words)
