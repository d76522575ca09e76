// The opening of an attempt while somebody changes its destination.
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openDelivery } from '../../activities/delivery/open.ts'
import { plan } from '../../activities/distribution/plan.ts'
import { putCredential } from '../../db/destinations/credentials.ts'
import {
  type DestinationContent,
  insertDestination,
  newDestinationId,
  updateDestination,
} from '../../db/destinations/destinations.ts'
import type { Db } from '../../db/pool.ts'
import { createTestSystem, type TestSystem } from '../support/system.ts'

let system: TestSystem
beforeAll(async () => {
  system = await createTestSystem()
  await system.tenant('acme')
})
afterAll(() => system.close())

it('takes endpoint and secret of one version, also when they are replaced between reading one and the other', async () => {
  const id = await system.as('acme', newDestinationId)
  const credential = `destination.${id}`
  const content = (version: string) =>
    ({
      configuration: {
        endpoint: `https://${version}.example/`,
        auth: { type: 'bearer', token: { secret: `${credential}.auth.token` } },
      },
      transform_config: {},
      health_check_config: {},
      tags: [],
    }) as unknown as DestinationContent
  const seal = (db: Db, token: string) =>
    putCredential(db, system.sealer, {
      tenant_id: 'acme',
      name: credential,
      fields: { 'auth.token': token },
      allowed_hosts: null,
      destination_id: id,
    })
  await system.as('acme', async (db) => {
    await insertDestination(db, { id, tenant_id: 'acme', name: 'moving', protocol: 'REST', ...content('old') }, 'test')
    await seal(db, 'old')
  })
  const ref = await system.submit({ destinations: [{ name: 'moving' }] })
  await plan(system.pool, ref)
  let replaced = false
  const replace = () =>
    system.as('acme', async (db) => {
      replaced = true
      await updateDestination(db, 'acme', id, content('new'), 'test')
      await seal(db, 'new')
    })
  const opened = await system.as('acme', (db) => {
    const query = async (text: string, values?: unknown[]) => {
      if (/ from credentials /.test(text) && !replaced) await replace()
      return await db.query(text, values)
    }
    const between = { query } as unknown as Db
    return openDelivery(system.deps, between, { ...ref, destination: 'moving' }, 1, system.deps.slots.slot(), [])
  })
  if (opened.kind !== 'opened') throw new Error(`not opened but ${opened.kind}`)
  expect(replaced).toBe(true)
  expect(opened.delivery.configuration).toMatchObject({ endpoint: 'https://new.example/' })
  expect(opened.delivery.configuration_version).toBe(2)
  expect(opened.credentials).toEqual(new Map([[credential, { fields: { 'auth.token': 'new' }, allowed_hosts: null }]]))
})
