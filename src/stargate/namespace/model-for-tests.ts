/** What a namespace is to its clients, in a few maps: tests compare answers and trees with it. */
import type { InodeId } from './namespace.ts'

interface Node {
  readonly children?: Map<string, InodeId>
  parent?: InodeId
  links: number
  mode: number
  bytes: Buffer
}

export type Operation =
  | { readonly kind: 'create'; readonly in: InodeId; readonly name: string; readonly directory: boolean }
  | { readonly kind: 'remove' | 'rmdir' | 'lookup'; readonly in: InodeId; readonly name: string }
  | {
      readonly kind: 'rename'
      readonly in: InodeId
      readonly name: string
      readonly to: InodeId
      readonly as: string
    }
  | { readonly kind: 'link'; readonly id: InodeId; readonly in: InodeId; readonly name: string }
  | { readonly kind: 'write'; readonly id: InodeId; readonly at: number; readonly bytes: Buffer }
  | { readonly kind: 'cut'; readonly id: InodeId; readonly size: number }
  | { readonly kind: 'mode'; readonly id: InodeId; readonly mode: number }

export class Model {
  readonly nodes = new Map<InodeId, Node>()
  readonly root: InodeId

  constructor(root: InodeId) {
    this.root = root
    this.nodes.set(root, { children: new Map(), parent: root, links: 2, mode: 0o755, bytes: Buffer.alloc(0) })
  }

  copy(): Model {
    const copy = new Model(this.root)
    for (const [id, node] of this.nodes)
      copy.nodes.set(id, { ...node, ...(node.children && { children: new Map(node.children) }) })
    return copy
  }

  /** What is answered: an error's code, or what happened to which inode. `made`: the id that a new inode has got. */
  apply(operation: Operation, made?: InodeId): string {
    switch (operation.kind) {
      case 'create': {
        const into = this.nodes.get(operation.in)
        if (!into?.children) return 'STALE'
        const there = into.children.get(operation.name)
        if (there !== undefined) return `existed ${there}`
        if (made === undefined) return 'creates'
        into.children.set(operation.name, made)
        const more = operation.directory
          ? { children: new Map<string, InodeId>(), parent: operation.in, links: 2 }
          : { links: 1 }
        this.nodes.set(made, { ...more, mode: 0o644, bytes: Buffer.alloc(0) })
        if (operation.directory) into.links++
        return `created ${made}`
      }
      case 'lookup': {
        const found = this.#find(operation.in, operation.name)
        return typeof found === 'string' ? found : `${found}`
      }
      case 'remove': {
        const found = this.#find(operation.in, operation.name)
        if (typeof found === 'string') return found
        if (this.nodes.get(found)!.children) return 'ISDIR'
        return this.#take(operation.in, operation.name)
      }
      case 'rmdir': {
        const found = this.#find(operation.in, operation.name)
        if (typeof found === 'string') return found
        const node = this.nodes.get(found)!
        if (!node.children) return 'NOTDIR'
        if (node.children.size > 0) return 'NOTEMPTY'
        this.#take(operation.in, operation.name)
        return 'removed'
      }
      case 'rename':
        return this.#rename(operation)
      case 'link': {
        const node = this.nodes.get(operation.id)
        if (!node) return 'STALE'
        if (node.children) return 'ISDIR'
        const into = this.nodes.get(operation.in)
        if (!into) return 'STALE'
        if (into.children!.has(operation.name)) return 'EXIST'
        into.children!.set(operation.name, operation.id)
        return `links ${++node.links}`
      }
      case 'write': {
        const node = this.nodes.get(operation.id)
        if (!node) return 'STALE'
        if (node.children) return 'ISDIR'
        node.bytes = Buffer.concat([
          node.bytes,
          Buffer.alloc(Math.max(0, operation.at + operation.bytes.length - node.bytes.length)),
        ])
        operation.bytes.copy(node.bytes, operation.at)
        return 'written'
      }
      case 'cut': {
        const node = this.nodes.get(operation.id)
        if (!node) return 'STALE'
        if (node.children) return 'ISDIR'
        node.bytes = Buffer.concat([node.bytes, Buffer.alloc(operation.size)]).subarray(0, operation.size)
        return 'cut'
      }
      case 'mode': {
        const node = this.nodes.get(operation.id)
        if (!node) return 'STALE'
        node.mode = operation.mode
        return 'set'
      }
      default:
        return operation satisfies never
    }
  }

  #find(directory: InodeId, name: string): InodeId | string {
    const children = this.nodes.get(directory)?.children
    return children ? (children.get(name) ?? 'NOENT') : 'STALE'
  }

  #take(directory: InodeId, name: string): string {
    const into = this.nodes.get(directory)!
    const id = into.children!.get(name)!
    const node = this.nodes.get(id)!
    into.children!.delete(name)
    if (node.children) into.links--
    else if (--node.links > 0) return `took ${id}`
    this.nodes.delete(id)
    return `ended ${id}`
  }

  #rename({ in: from, name, to, as }: Extract<Operation, { kind: 'rename' }>): string {
    const id = this.#find(from, name)
    if (typeof id === 'string') return id
    const node = this.nodes.get(id)!
    const into = this.nodes.get(to)
    if (!into?.children) return 'STALE'
    if (node.children && from !== to)
      for (let above = to; ; above = this.nodes.get(above)!.parent!) {
        if (above === id) return 'INVAL'
        if (above === this.root) break
      }
    const over = into.children.get(as)
    if (over === id) return 'renamed'
    let answer = 'renamed'
    if (over !== undefined) {
      const target = this.nodes.get(over)!
      if (target.children) {
        if (!node.children) return 'ISDIR'
        if (target.children.size > 0) return 'NOTEMPTY'
      } else if (node.children) return 'NOTDIR'
      answer = `renamed, ${this.#take(to, as)}`
    }
    const out = this.nodes.get(from)!
    out.children!.delete(name)
    into.children.set(as, id)
    if (node.children) {
      out.links--
      into.links++
      node.parent = to
    }
    return answer
  }

  /** The tree as text. */
  tree(id: InodeId = this.root, path = ''): string[] {
    const lines: string[] = []
    for (const [name, child] of this.nodes.get(id)!.children!) {
      const { children, links, mode, bytes } = this.nodes.get(child)!
      lines.push(lineOf(`${path}/${name}`, child, links, mode, children ? undefined : bytes))
      if (children) lines.push(...this.tree(child, `${path}/${name}`))
    }
    return lines.sort()
  }
}

export const lineOf = (path: string, id: InodeId, links: number, mode: number, bytes?: Buffer): string =>
  `${path} ${id} ${links} ${mode.toString(8)} ${bytes ? bytes.toString('latin1').replace(/\0+/g, (zeros) => `<${zeros.length}>`) : '/'}`
