// Looks for rows that need a run and may have none: open distributions, cancels that no signal reached, callbacks.
import { background } from './background.ts'
import type { SweepInput } from './messages.ts'

const OPTIONS = {
  startToCloseTimeout: '30 min',
  heartbeatTimeout: '1 min',
  retry: { initialInterval: '1 s', backoffCoefficient: 2, maximumInterval: '1 min', maximumAttempts: 5 },
} as const

export async function sweep(input: SweepInput): Promise<void> {
  await background(undefined, 'awaited', OPTIONS).sweep(input)
}

/** Maintains the database: creates partitions ahead of time and refreshes views. */
export async function maintain(): Promise<void> {
  await background(undefined, 'awaited', OPTIONS).maintain()
}
