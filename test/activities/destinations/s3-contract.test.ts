// What every protocol must keep, kept by S3.
import { randomUUID } from 'node:crypto'
import { s3Config } from '../../../activities/destinations/s3/config.ts'
import { s3 } from '../../../activities/destinations/s3/index.ts'
import { startVersitygw } from '../../support/receivers/s3.ts'
import { type At, contract, SECRET, WRONG } from './contract.ts'

await contract({
  destination: s3,
  repeat: 'one effect',
  programs: ['versitygw'],
  tls: 'first',
  // The name of the object, and the id of a key.
  notSecret: ['key'],
  async start() {
    const server = await startVersitygw({ access_key: 'contract', secret_key: SECRET })
    return {
      port: server.port,
      restart: server.restart,
      close: server.close,
      async place() {
        const bucket = `place-${randomUUID()}`
        await server.makeBucket(bucket)
        const config = ({ host, port, timeout_seconds }: At, given: Record<string, unknown> = {}) => ({
          ...s3Config.parse({
            endpoint: `http://${host}:${port}`,
            bucket,
            key: '{delivery_id}.json',
            access_key_id: 'contract',
            secret_access_key: SECRET,
            ...given,
          }),
          timeout_seconds,
        })
        return {
          config,
          secured: (at: At, tls) => config(at, { endpoint: `https://${at.host}:${at.port}`, tls }),
          locked: (at: At) => config(at, { secret_access_key: WRONG }),
          refused: (at: At) => config(at, { bucket: `missing-${randomUUID()}` }),
          async arrived() {
            const objects = await server.objects(bucket)
            return objects.map(({ body, metadata }) => ({ body, delivery_id: metadata['delivery-id'] ?? '' }))
          },
        }
      },
    }
  },
})
