// Where distributions go: why one went where it went, and the route of those that no rule has one for.

import { findExplanation } from '../../db/distributions/rule-plans.ts'
import { withTenant } from '../../db/pool.ts'
import { findDefaultRoute, setDefaultRoute } from '../../db/rules/default-route.ts'
import { writeAudit } from '../../db/tenants/audit.ts'
import { requireOwnTenant } from '../http/auth.ts'
import type { AppDeps } from '../http/context.ts'
import { type Endpoint, endpoint } from '../http/endpoint.ts'
import { invalid, notFound } from '../http/errors.ts'
import { unknownDestinations } from '../rules/rule-check.ts'
import { distributionParams } from '../schemas/distributions.ts'
import { defaultRoute, distributionExplanation } from '../schemas/rules.ts'
import { readId } from './distributions.ts'

const tag = 'Rules'

export function routingEndpoints({ pool }: AppDeps): Endpoint[] {
  const explained = endpoint({
    method: 'get',
    path: '/distribution/{id}/explanation',
    tag,
    summary: 'Why a distribution went where it went',
    description: 'As the rules saw it when it was planned; values are shortened, and long explanations are cut.',
    role: 'viewer',
    params: distributionParams,
    answers: {
      200: { description: 'The rules, the conditions, the plan', schema: distributionExplanation },
      404: { description: 'No such distribution of this tenant' },
    },
    async handle({ c, caller, params }) {
      const id = readId(c, params.id)
      const found = await withTenant(pool, caller.tenant_id, (db) => findExplanation(db, id))
      if (!found) throw notFound('distribution')
      return c.json({ distribution_id: params.id, ...found })
    },
  })

  const showDefault = endpoint({
    method: 'get',
    path: '/routing/default',
    tag,
    summary: 'The default route',
    role: 'viewer',
    answers: { 200: { description: 'Of this tenant', schema: defaultRoute } },
    async handle({ c, caller }) {
      return c.json(await withTenant(pool, caller.tenant_id, (db) => findDefaultRoute(db, caller.tenant_id)))
    },
  })

  const setDefault = endpoint({
    method: 'put',
    path: '/routing/default',
    tag,
    summary: 'Set the default route',
    role: 'admin',
    body: defaultRoute,
    body_example: { destinations: ['archive'], when_none: 'fail' },
    answers: { 200: { description: 'Of this tenant', schema: defaultRoute } },
    async handle({ c, caller, body }) {
      requireOwnTenant(caller, body.tenant_id)
      const { tenant_id, actor } = caller
      const { destinations, when_none } = body
      await withTenant(pool, tenant_id, async (db) => {
        const details = await unknownDestinations(db, destinations, 'destinations')
        if (details.length > 0) throw invalid(details)
        await setDefaultRoute(db, tenant_id, { destinations, when_none })
        const event = { tenant_id, actor, action: 'update', resource_type: 'default_route', resource_id: tenant_id }
        await writeAudit(db, { ...event, details: { destinations, when_none }, request_id: c.get('request_id') })
      })
      return c.json({ destinations, when_none })
    },
  })

  return [explained, showDefault, setDefault]
}
