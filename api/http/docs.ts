// The OpenAPI document, and a page that shows it. The script and style of the page come from an installed package: nothing
// is loaded from another server.
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type { OpenAPIHono } from '@hono/zod-openapi'
import type { ApiEnv } from './context.ts'

const ASSETS: Record<string, string> = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
}

const INITIALIZER = `window.addEventListener('load', () => {
  SwaggerUIBundle({ url: '/openapi.json', dom_id: '#docs', deepLinking: true, displayRequestDuration: true,
    defaultModelsExpandDepth: 0, docExpansion: 'list', validatorUrl: null, tryItOutEnabled: true })
})
`

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Distributor API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body style="margin: 0">
<div id="docs"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
`

/** Allows only this server; the page also needs data URLs for icons and inline styles. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"

/** Serves `/openapi.json` and `/docs`, which need no key. Call it after all endpoints are mounted. */
export function serveDocs(app: OpenAPIHono<ApiEnv>, version: string): void {
  app.openAPIRegistry.registerComponent('securitySchemes', 'api_key', {
    type: 'apiKey',
    in: 'header',
    name: 'X-API-Key',
  })
  let text: string | undefined
  app.get('/openapi.json', (c) => {
    c.set('route', '/openapi.json')
    text ??= JSON.stringify(app.getOpenAPI31Document(documentConfig(version)))
    return c.body(text, 200, { 'Content-Type': 'application/json' })
  })
  app.get('/docs', (c) => {
    c.set('route', '/docs')
    return c.html(PAGE, 200, { 'Content-Security-Policy': POLICY })
  })
  app.get('/docs/:file', async (c) => {
    c.set('route', '/docs/{file}')
    const file = c.req.param('file')
    if (file === 'start.js') return c.body(INITIALIZER, 200, { 'Content-Type': 'text/javascript; charset=utf-8' })
    const type = Object.hasOwn(ASSETS, file) ? ASSETS[file] : undefined
    if (!type) return c.notFound()
    const content = await readFile(join(assetFolder(), file))
    return c.body(new Uint8Array(content), 200, { 'Content-Type': type, 'Cache-Control': 'max-age=86400' })
  })
}

function assetFolder(): string {
  return dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'))
}

/** In the order of the page. */
const TAGS = [
  'Distributions',
  'Batches',
  'Schedules',
  'Destinations',
  'Rules',
  'Catalogue',
  'Credentials',
  'Webhooks',
  'Administration',
  'Service',
]

function documentConfig(version: string) {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Distributor',
      version,
      description: [
        'Takes a payload over HTTP and delivers it durably to many destinations.',
        'Every request under `/api/v1` needs `X-API-Key`. Roles: `viewer` reads; `operator` also submits, cancels,',
        'retries and tests; `admin` may do everything in its tenant; `platform` also manages all tenants.',
        'Bodies may be compressed with gzip. Times are ISO 8601 in UTC. Every response has `X-Request-Id`.',
      ].join('\n'),
    },
    servers: [{ url: '/' }],
    tags: TAGS.map((name) => ({ name })),
  }
}
