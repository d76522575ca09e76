// Routing: the explanation of a distribution, and the default route.
import type { Explanation } from '../../activities/rules/explanation.ts'
import { findExplanation } from '../../db/distributions/rule-plans.ts'
import { findDefaultRoute, setDefaultRoute } from '../../db/rules/default-route.ts'
import { endpoint } from '../http/endpoint.ts'
import { invalid, notFound } from '../http/errors.ts'
import { unknownDestinations } from '../rules/rule-check.ts'
import { distributionParams } from '../schemas/distributions.ts'
import { defaultRoute, distributionExplanation, newDefaultRoute } from '../schemas/rules.ts'
import { readId } from './distributions.ts'

const tag = 'Rules'

export const explain = endpoint({
  method: 'get',
  path: '/distribution/{id}/explanation',
  operation: 'explain',
  tag,
  summary: 'Explain the routing of a distribution',
  description:
    'The result of the rules when the distribution was planned. Long values and long explanations are shortened.',
  role: 'viewer',
  params: distributionParams,
  answers: {
    200: { description: 'The rules, their conditions and the plan', schema: distributionExplanation },
    404: { description: 'The tenant has no such distribution' },
  },
}).handle(async ({ c, transaction, params }) => {
  const id = readId(c, params.id)
  const found = await transaction((db) => findExplanation(db, id))
  if (!found) throw notFound('distribution')
  // The row has what `explain` returned.
  const explanation = found.explanation as Explanation | null
  return { status: 200, body: { distribution_id: params.id, planned_at: found.planned_at, explanation } }
})

export const showDefault = endpoint({
  method: 'get',
  path: '/routing/default',
  operation: 'getDefaultRoute',
  tag,
  summary: 'Get the default route',
  role: 'viewer',
  answers: { 200: { description: 'The default route of the tenant', schema: defaultRoute } },
}).handle(async ({ caller, transaction }) => {
  return { status: 200, body: await transaction((db) => findDefaultRoute(db, caller.tenant_id)) }
})

export const setDefault = endpoint({
  method: 'put',
  path: '/routing/default',
  operation: 'setDefaultRoute',
  tag,
  summary: 'Set the default route',
  role: 'admin',
  body: newDefaultRoute,
  body_example: { destinations: ['archive'], when_none: 'fail' },
  answers: { 200: { description: 'The default route of the tenant', schema: defaultRoute } },
}).handle(async ({ caller: { tenant_id }, transaction, audit, body: { destinations, when_none } }) => {
  await transaction(async (db) => {
    const details = await unknownDestinations(db, destinations, 'destinations')
    if (details.length > 0) throw invalid(details)
    const route = { destinations, when_none }
    await setDefaultRoute(db, tenant_id, route)
    await audit(db, { action: 'update', resource_type: 'default_route', resource_id: tenant_id, details: route })
  })
  return { status: 200, body: { destinations, when_none } }
})
