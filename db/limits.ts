// Every limit on what a request, a tenant or a receiver may cost: its value, and the reason for it. Pure data, which any
// folder may import. `npm run docs` writes the README's table from it.

export interface Limit {
  /** What is limited, as the documentation names it. */
  what: string
  value: number
  /** What `value` counts: `levels`, `bytes`, `ms` … */
  unit: string
  /** Why there is a limit, and why this one. */
  reason: string
}

export const LIMITS = {
  jsonDepth: {
    what: 'Nesting of a JSON request',
    value: 500,
    unit: 'levels',
    reason: "PostgreSQL's jsonb parser is recursive, and so are those of most receivers",
  },
} as const satisfies Record<string, Limit>
