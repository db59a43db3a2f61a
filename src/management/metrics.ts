/**
 * `GET /metrics`: what the parts count, in the words of Prometheus. Pulled: nothing is registered, each scrape asks.
 */
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client'
import { assert } from '../base/assert.ts'
import type { Sample } from './management.ts'

export interface Metrics {
  readonly contentType: string
  text(samples: readonly Sample[]): Promise<string>
}

/** Those of the process itself (memory, event loop, garbage collection) stand beside ours. */
export function metrics(node: string): Metrics {
  const ofTheProcess = new Registry()
  ofTheProcess.setDefaultLabels({ node })
  collectDefaultMetrics({ register: ofTheProcess })
  return {
    contentType: ofTheProcess.contentType,
    text: async (samples) => (await ofTheProcess.metrics()) + (await textOf(samples, node)),
  }
}

async function textOf(samples: readonly Sample[], node: string): Promise<string> {
  const registry = new Registry()
  registry.setDefaultLabels({ node })
  const byName = new Map<string, Sample[]>()
  for (const sample of samples) {
    const kin = byName.get(sample.name)
    if (kin) kin.push(sample)
    else byName.set(sample.name, [sample])
  }
  for (const [name, kin] of byName) {
    const { help, kind } = kin[0]
    const labelNames = [...new Set(kin.flatMap(({ labels }) => Object.keys(labels ?? {})))]
    const options = { name: `ndfs_${name}`, help, labelNames, registers: [registry] }
    if (kind === 'counter') {
      const counter = new Counter(options)
      for (const { labels = {}, value } of kin) {
        assert(value >= 0, () => `the counter ${name} stands at ${value}`)
        counter.inc(labels, value)
      }
    } else {
      const gauge = new Gauge(options)
      for (const { labels = {}, value } of kin) gauge.set(labels, value)
    }
  }
  return registry.metrics()
}
