import { defineDestination } from './destination.ts'
import { restConfig } from './rest/config.ts'

export const rest = defineDestination({
  protocol: 'REST',
  config: restConfig,
  async deliver() {
    throw new Error('to come')
  },
  async probe() {
    throw new Error('to come')
  },
})
