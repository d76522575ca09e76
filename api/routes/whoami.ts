// Whose key a request carries.
import { z } from '@hono/zod-openapi'
import { ROLES } from '../../db/states.ts'
import { endpoint } from '../http/endpoint.ts'

const whoamiAnswer = z
  .object({
    tenant_id: z.string(),
    role: z.enum(ROLES),
    actor: z
      .string()
      .openapi({ description: 'As in the audit log', example: 'api_key:019bc0de-7a10-7cc3-98c4-dc0c0c07398f' }),
  })
  .openapi('WhoAmI')

export const whoami = endpoint({
  method: 'get',
  path: '/whoami',
  operation: 'whoami',
  tag: 'Service',
  summary: 'Get the tenant and the role of the API key',
  role: 'viewer',
  answers: {
    200: { description: 'The tenant, the role and the name of the key in the audit log', schema: whoamiAnswer },
  },
}).handle(async ({ caller: { tenant_id, role, actor } }) => ({ status: 200, body: { tenant_id, role, actor } }))
