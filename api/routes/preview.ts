// The preview: shapes a sample payload as for a delivery, but sends nothing.

import { shapes } from '../../activities/shaping/config.ts'
import { withOpenSalts } from '../../activities/shaping/salts.ts'
import { ShapingError } from '../../activities/shaping/shaping-error.ts'
import { nowDate } from '../../db/clock.ts'
import { findDestination } from '../../db/destinations/destinations.ts'
import { publicId } from '../../db/distributions/job-id.ts'
import { UnsealError } from '../../db/secrets.ts'
import { endpoint } from '../http/endpoint.ts'
import { invalid, notFound } from '../http/errors.ts'
import { shapingIssues } from '../rules/shape-check.ts'
import { toStored } from '../rules/shape-forms.ts'
import { destinationParams } from '../schemas/destinations.ts'
import { preview, previewRequest } from '../schemas/preview.ts'

/** Longer results are cut, because a person reads them. */
const SHOWN_BYTES = 262_144
/** Used in place of the id of a real distribution. */
const SAMPLE_ID = '00000000-0000-7000-8000-000000000000'

export const shape = endpoint({
  method: 'post',
  path: '/destinations/{id}/preview',
  operation: 'preview',
  tag: 'Destinations',
  summary: 'Preview the body that a destination would receive',
  description:
    'Shapes a sample payload with the `transform_config` of the destination, or with the one in the request. Nothing is sent.',
  role: 'operator',
  params: destinationParams,
  body: previewRequest,
  max_body_bytes: Number.POSITIVE_INFINITY,
  answers: {
    200: { description: 'The body that would be sent, or the error', schema: preview },
    404: { description: 'The tenant has no such destination' },
  },
}).handle(async ({ deps: { sealer, shaper }, caller: { tenant_id }, transaction, params, body, raw }) => {
  const destination = await transaction((db) => findDestination(db, params.id))
  if (!destination) throw notFound('destination')
  const owner = { sealer, tenantId: tenant_id }
  const tried =
    body.transform_config && toStored(owner, body.transform_config, destination.transform_config, ['transform_config'])
  const before = body.shape && toStored(owner, body.shape, undefined, ['shape'])
  const own = tried?.shape ?? destination.transform_config
  const issuesWith = (shape: typeof own | undefined | null, at: string, overruled = false) =>
    shapingIssues(shaper, tenant_id, destination, shape, [at], { output: overruled })
  const issues = [
    ...(await issuesWith(own, 'transform_config')),
    ...(await issuesWith(before?.shape, 'shape', shapes(own))),
    ...(tried?.details ?? []),
    ...(before?.details ?? []),
  ]
  if (issues.length > 0) throw invalid(issues)
  // The exact text: the parsed value has lost digits.
  const payload = raw.texts.bytes('payload')!
  const configured = [before?.shape, own].filter(shapes)
  try {
    const values = {
      tenant_id,
      distribution_id: publicId(SAMPLE_ID),
      delivery_id: SAMPLE_ID,
      data_type: body.data_type,
      accepted_at: nowDate(),
    }
    const opened = configured.map((one) => withOpenSalts(sealer, tenant_id, one))
    const shaped =
      opened.length === 0
        ? { body: payload, content_type: 'application/json', warnings: undefined }
        : await shaper.shape(tenant_id, opened, payload, values, undefined, { warns: true })
    return {
      status: 200,
      body: {
        content_type: shaped.content_type,
        bytes: shaped.body.length,
        body: shaped.body.subarray(0, SHOWN_BYTES).toString('utf8'),
        truncated: shaped.body.length > SHOWN_BYTES,
        ...(shaped.warnings && shaped.warnings.length > 0 && { warnings: shaped.warnings }),
        error_code: null,
        error_message: null,
      },
    }
  } catch (error) {
    const unread = error instanceof UnsealError ? 'mask: a salt cannot be decrypted' : undefined
    if (!unread && !(error instanceof ShapingError)) throw error
    return {
      status: 200,
      body: {
        content_type: null,
        bytes: null,
        body: null,
        truncated: false,
        error_code: 'TRANSFORMATION_FAILED',
        error_message: unread ?? `${(error as ShapingError).step}: ${(error as ShapingError).message}`,
      },
    }
  }
})
