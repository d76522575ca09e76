// Gauges whose value is read from the database when Prometheus scrapes them. If the database does not answer in time, a
// gauge keeps its last value.
import { Gauge, type Registry } from 'prom-client'
import { CHECKS } from '../../api/http/health.ts'
import { openCircuits } from '../../db/destinations/circuits.ts'
import { type Db, type Pool, withoutTenant } from '../../db/pool.ts'
import { partitionsAhead } from '../../db/upkeep/partitions.ts'
import { queueDepths } from '../../db/upkeep/queue-depths.ts'

const WITHIN = { statementTimeoutMs: 2000 }

/** Registers the gauges that are read from the database behind `pool`. */
export function addScrapedGauges(registry: Registry, pool: Pool): void {
  const registers = [registry]
  const ask = <T>(query: (db: Db) => Promise<T>, set: (value: T) => void): Promise<void> =>
    withoutTenant(pool, query, WITHIN).then(set, () => {})

  new Gauge({
    name: 'zenia_distribution_queue_depth',
    help: 'Deliveries that are not final',
    labelNames: ['queue_name'],
    registers,
    async collect() {
      await ask(queueDepths, (depths) => {
        this.reset()
        for (const [queue_name, depth] of Object.entries(depths)) this.set({ queue_name }, depth)
      })
    },
  })
  new Gauge({
    name: 'zenia_distribution_open_circuits',
    help: 'Destinations whose circuit is open',
    registers,
    async collect() {
      await ask(openCircuits, (count) => this.set(count))
    },
  })
  new Gauge({
    name: 'zenia_distribution_partitions_ahead',
    help: 'Whole months ahead for which partitions exist',
    registers,
    async collect() {
      await ask(partitionsAhead, (months) => this.set(months))
    },
  })
}

/** Registers the checks of the API's `/health/ready`. */
export function addReadinessGauge(registry: Registry, failing: () => Promise<string[]>): void {
  new Gauge({
    name: 'zenia_distribution_ready',
    help: 'Checks of the API: 1 if it passes',
    labelNames: ['check'],
    registers: [registry],
    async collect() {
      const failed = await failing()
      for (const check of CHECKS) this.set({ check }, failed.includes(check) ? 0 : 1)
    },
  })
}
