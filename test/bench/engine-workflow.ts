// The bare engine's workflow: one activity that does nothing.
import { proxyActivities } from '@temporalio/workflow'

const { arrive } = proxyActivities<{ arrive(key: string): Promise<void> }>({ startToCloseTimeout: '30 s' })

export async function bare(key: string): Promise<void> {
  await arrive(key)
}
