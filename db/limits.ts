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
  smtpTransactions: {
    what: 'Transactions of one mail over one connection',
    value: 100,
    unit: 'transactions',
    reason: 'A mail has at most 100 recipients, and a server may take only one of them in each transaction',
  },
  smtpServersRemembered: {
    what: 'Mail servers whose number of recipients per transaction is remembered',
    value: 1000,
    unit: 'servers',
    reason: 'Each process keeps them in memory; a server that is forgotten costs one refused recipient',
  },
  eventGather: {
    what: 'Wait before an operator event that has a count',
    value: 60,
    unit: 's',
    reason: 'failures come together: the event says how many there were, and is still told within two minutes',
  },
  eventWindow: {
    what: 'Shortest time between two such events of one kind about one destination',
    value: 900,
    unit: 's',
    reason: 'an outage that fails thousands of deliveries is a few events an hour, each with a count',
  },
} as const satisfies Record<string, Limit>
