import { line, lineConfig } from '../../support/line-protocol/index.ts'
import { startLineServer } from '../../support/line-protocol/server.ts'
import { type At, contract, SECRET, WRONG } from './contract.ts'

await contract({
  destination: line,
  repeat: 'recognisable',
  programs: [],
  tls: 'first',
  async start() {
    const { boxes, ...server } = await startLineServer(SECRET)
    return {
      ...server,
      async place() {
        const box = `box-${boxes.size}`
        boxes.set(box, [])
        const config = ({ timeout_seconds, ...at }: At, given: Record<string, unknown> = {}) => ({
          ...lineConfig.parse({ ...at, security: 'none', token: SECRET, box, ...given }),
          timeout_seconds,
        })
        return {
          config: (at) => config(at),
          locked: (at) => config(at, { token: WRONG }),
          refused: (at) => config(at, { box: 'no-such-box' }),
          secured: (at, tls) => config(at, { security: 'tls', tls }),
          arrived: async () => boxes.get(box)!,
        }
      },
    }
  },
})
