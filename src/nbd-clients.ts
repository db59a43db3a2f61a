/** Who may have which vDisks by NBD without TLS: the containers' lists of networks, as this node has heard of them. */
import { Networks } from './base/networks.ts'
import type { ClusterView } from './cluster-view.ts'
import type { PlainClients } from './stargate/front-end-adapter/nbd/nbd.ts'
import type { ContainerValue } from './zeus/zeus.ts'

export class NbdClients implements PlainClients {
  readonly #view: Pick<ClusterView, 'containers'>
  readonly #networks = new WeakMap<ContainerValue, Networks>()

  constructor(view: Pick<ClusterView, 'containers'>) {
    this.#view = view
  }

  mayAny(host: string): boolean {
    return [...this.#view.containers.values()].some((container) => this.#allows(container, host))
  }

  may(host: string, name: string): boolean {
    const container = this.#view.containers.get(name.slice(0, name.indexOf('/')))
    return container !== undefined && this.#allows(container, host)
  }

  #allows(container: ContainerValue, host: string): boolean {
    if (container.nbd === undefined) return false
    let known = this.#networks.get(container)
    if (known === undefined) this.#networks.set(container, (known = new Networks(container.nbd.networks)))
    return known.has(host)
  }
}
