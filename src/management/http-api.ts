/**
 * The HTTP API of a node: JSON under `/api/v1`, its own description at `/api/openapi.json`, numbers at `/metrics`.
 *
 * A request passes, in this order: its headers (door.ts), the token where it changes something, its size and shape
 * (the schemas of management.ts), and then the target. Whatever fails is answered with `{ error: { code, message,
 * facts } }`. An assertion that fails behind the door stops the process: it is a bug, and not the caller's affair.
 */
import fastifySwagger from '@fastify/swagger'
import fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import Type, { type Static, type TSchema } from 'typebox'
import { AssertionFailure } from '../base/assert.ts'
import { KiB } from '../base/units.ts'
import type { Address, Platform } from '../platform/platform.ts'
import { cassandraInfoSchema } from './cassandra.ts'
import { checkInfoSchema, newCheckSchema, type NewCheck } from './check.ts'
import { ownHostNames, refusedAtTheDoor, refusedForItsToken } from './door.ts'
import { joinAnswerSchema, joinPath, joinRequestSchema, type JoinAnswer, type JoinRequest } from './join.ts'
import { failure, failureOf, sentenceOf, type HttpFailure } from './http-errors.ts'
import {
  clusterStatusSchema,
  containerChangeSchema,
  containerInfoSchema,
  diskChangeSchema,
  diskInfoSchema,
  healthSchema,
  namePattern,
  newContainerSchema,
  newVDiskSchema,
  nodeChangeSchema,
  nodeIdPattern,
  nodeInfoSchema,
  vDiskChangeSchema,
  vDiskInfoSchema,
  type ContainerChange,
  type DiskChange,
  type ManagementTarget,
  type NewContainer,
  type NewVDisk,
  type NodeChange,
  type VDiskChange,
  type VDiskName,
} from './management.ts'
import { metrics } from './metrics.ts'
import { metadataBackupSchema } from './backup.ts'
import { scrubChangeSchema, scrubInfoSchema, type ScrubChange } from './scrub.ts'
import { upgradeInfoSchema } from './upgrade.ts'

export interface HttpApiOptions {
  readonly target: ManagementTarget
  /** The node whose API it is: a label of its metrics. */
  readonly node: string
  readonly version: string
  /** The operator's token. */
  readonly token: string
  /** `host:port`; port 0 picks one. */
  readonly listen: Address
  readonly platform: Pick<Platform, 'clock' | 'log'>
  /** Lets a machine into the cluster, by the token that it shows. Left out, nobody is. */
  readonly admit?: (request: JoinRequest) => Promise<JoinAnswer>
}

export interface HttpApi {
  /** Where it listens. */
  readonly address: Address
  /** Answers what is under way for at most as long as the target takes, then closes every connection. */
  close(): Promise<void>
}

/** The largest body is a few names and numbers. */
const bodyBytesMax = 64 * KiB
/** A client that has not sent its whole request by then is cut off: it may hold a connection, not for ever. */
const requestTimeoutMs = 10_000
/** Connections at one time. A person, a console and a scraper need ten. */
const connectionsMax = 256

/** Rejects with the system's error where the address cannot be had (EADDRINUSE, …). */
export async function serveHttpApi(options: HttpApiOptions): Promise<HttpApi> {
  const app = fastify({
    logger: false,
    bodyLimit: bodyBytesMax,
    requestTimeout: requestTimeoutMs,
    forceCloseConnections: 'idle',
    // Nothing is bent into shape: what has the wrong type or a key too many is refused by name.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: false } },
    schemaErrorFormatter: ([first], part) =>
      new Error(sentenceOf(part, first.instancePath, problemOf(first))),
  })
  app.server.maxConnections = connectionsMax
  standAtTheDoor(app, options)
  answerFailures(app, options)
  await app.register(fastifySwagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'NDFS', description: 'Management of an NDFS cluster.', version: options.version },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
    },
  })
  await app.register(async (routes) => addRoutes(routes, options))
  const { host, port } = hostAndPortOf(options.listen)
  await app.listen({ host, port })
  const bound = app.server.address()
  const address = typeof bound === 'object' && bound ? `${bracketed(host)}:${bound.port}` : options.listen
  return { address, close: () => app.close() }
}

function standAtTheDoor(app: FastifyInstance, { listen, token }: HttpApiOptions): void {
  const ownHosts = ownHostNames([listen])
  app.addHook('onRequest', async ({ headers, method, url }, reply) => {
    // Who joins has a token of another kind, and proves that in the request.
    const needsToken = method !== 'GET' && method !== 'HEAD' && url !== joinPath
    const refused =
      refusedAtTheDoor(headers, ownHosts) ?? (needsToken ? refusedForItsToken(headers, token) : undefined)
    if (refused) return reply.status(refused.status).send(refused.body)
  })
}

function answerFailures(app: FastifyInstance, { platform }: HttpApiOptions): void {
  app.setNotFoundHandler(async ({ method, url }, reply) => {
    const { status, body } = failure(404, 'NOT_FOUND', `Cannot ${method} ${url}: the API has no such path.`)
    return reply.status(status).send(body)
  })
  app.setErrorHandler(async (error, { method, url }, reply) => {
    const known = failureOf(error) ?? clientsFailure(error)
    if (!known) {
      platform.log.error('A request to the HTTP API met a bug.', { method, url, error })
      if (error instanceof AssertionFailure)
        platform.clock.soon(() => {
          throw error
        })
    }
    const { status, body } =
      known ?? failure(500, 'BUG', 'Cannot answer: the request met a bug in this node. Its log tells more.')
    return reply.status(status).send(body)
  })
}

/** What fastify itself found wrong with a request, by its status. */
function clientsFailure(error: unknown): HttpFailure | undefined {
  const { statusCode, message } = error as { statusCode?: number; message?: string }
  if (statusCode === undefined || statusCode < 400 || statusCode > 499) return undefined
  return failure(statusCode, 'REFUSED', message ?? 'Cannot take the request as it stands.')
}

interface SchemaProblem {
  readonly keyword: string
  readonly message?: string
  readonly params: Record<string, unknown>
}

function problemOf({ keyword, message, params }: SchemaProblem): string {
  if (keyword === 'additionalProperties')
    return `has the unknown key ${JSON.stringify(params.additionalProperty)}`
  return message ?? 'is not what it must be'
}

const containerParams = Type.Object({ container: Type.String({ pattern: namePattern }) })
const vDiskParams = Type.Object({
  container: Type.String({ pattern: namePattern }),
  name: Type.String({ pattern: namePattern }),
})
const checkParams = Type.Object({ check: Type.String({ pattern: '^[0-9a-f]{1,32}$' }) })
const nodeParams = Type.Object({ node: Type.String({ pattern: nodeIdPattern }) })
const diskParams = Type.Object({ disk: Type.String({ pattern: namePattern }) })
const forceQuery = Type.Object(
  { force: Type.Optional(Type.Union([Type.Literal('true'), Type.Literal('false')])) },
  { additionalProperties: false },
)
type ForceQuery = Static<typeof forceQuery>

const isForced = ({ query }: FastifyRequest): boolean => (query as ForceQuery).force === 'true'
const vDiskNameOf = ({ params }: FastifyRequest): VDiskName => params as VDiskName
const containerOf = ({ params }: FastifyRequest): string =>
  (params as Static<typeof containerParams>).container
const checkOf = ({ params }: FastifyRequest): string => (params as Static<typeof checkParams>).check
const nodeOf = ({ params }: FastifyRequest): string => (params as Static<typeof nodeParams>).node
const diskOf = ({ params }: FastifyRequest): string => (params as Static<typeof diskParams>).disk

const changes = [{ token: [] }]
const done = { 204: Type.Null({ description: 'Done.' }) }

function addRoutes(app: FastifyInstance, { target, node, admit }: HttpApiOptions): void {
  const scrape = metrics(node)
  const read = (
    path: string,
    summary: string,
    result: TSchema,
    answer: (r: FastifyRequest) => Promise<unknown>,
  ) => app.get(path, { schema: { summary, ...paramsOf(path), response: { 200: result } } }, answer)

  read('/api/v1/status', 'The state of the cluster.', clusterStatusSchema, () => target.status())
  read('/api/v1/containers', 'All containers.', Type.Array(containerInfoSchema), () =>
    target.listContainers(),
  )
  read('/api/v1/containers/:container', 'A container.', containerInfoSchema, (request) =>
    target.showContainer(containerOf(request)),
  )
  read('/api/v1/vdisks', 'All vDisks.', Type.Array(vDiskInfoSchema), () => target.listVDisks())
  read('/api/v1/vdisks/:container/:name', 'A vDisk.', vDiskInfoSchema, (request) =>
    target.showVDisk(vDiskNameOf(request)),
  )
  read('/api/v1/nodes', 'All nodes.', Type.Array(nodeInfoSchema), () => target.listNodes())
  read('/api/v1/nodes/:node', 'A node.', nodeInfoSchema, (request) => target.showNode(nodeOf(request)))
  read('/api/v1/disks', 'All disks.', Type.Array(diskInfoSchema), () => target.listDisks())
  read(
    '/api/v1/checks/:check',
    'A check that this node leads, or led last: how far it is, what it found.',
    checkInfoSchema,
    (request) => target.showCheck(checkOf(request)),
  )

  read('/api/v1/scrub', 'How the scrub stands, on each node.', scrubInfoSchema, () => target.showScrub())

  read('/api/v1/upgrade', "The nodes' releases, and the cluster's format.", upgradeInfoSchema, () =>
    target.showUpgrade(),
  )

  read(
    '/api/v1/cassandra',
    "How Cassandra's servers see one another, where they hold the metadata.",
    cassandraInfoSchema,
    () => target.showCassandra(),
  )

  app.get(
    '/api/v1/health',
    { schema: { summary: 'Whether this node serves.', response: { 200: healthSchema, 503: healthSchema } } },
    async (_, reply) => {
      const health = await target.health()
      return reply.status(health.serving ? 200 : 503).send(health)
    },
  )
  app.get('/metrics', { schema: { summary: 'The numbers of this node.' } }, async (_, reply) =>
    reply.type(scrape.contentType).send(await scrape.text(await target.statistics())),
  )
  app.get('/api/openapi.json', { schema: { hide: true } }, async () => app.swagger())

  if (admit !== undefined)
    app.post(
      joinPath,
      {
        schema: {
          summary: 'Lets a machine join, by the token that `ndfs invite` made: the exchange of `ndfs join`.',
          body: joinRequestSchema,
          response: { 200: joinAnswerSchema },
        },
      },
      async ({ body }) => admit(body as JoinRequest),
    )
  app.post(
    '/api/v1/containers',
    {
      schema: {
        summary: 'Makes a container.',
        security: changes,
        body: newContainerSchema,
        response: { 201: containerInfoSchema },
      },
    },
    async ({ body }, reply) => reply.status(201).send(await target.createContainer(body as NewContainer)),
  )
  app.patch(
    '/api/v1/containers/:container',
    {
      schema: {
        summary: 'Changes settings of a container, on all nodes at once.',
        security: changes,
        params: containerParams,
        body: containerChangeSchema,
        response: { 200: containerInfoSchema },
      },
    },
    async (request) => target.changeContainer(containerOf(request), request.body as ContainerChange),
  )
  app.delete(
    '/api/v1/containers/:container',
    {
      schema: {
        summary: 'Deletes a container; `force=true` with its vDisks.',
        security: changes,
        params: containerParams,
        querystring: forceQuery,
        response: done,
      },
    },
    async (request, reply) => {
      await target.deleteContainer(containerOf(request), { force: isForced(request) })
      return reply.status(204).send()
    },
  )
  app.post(
    '/api/v1/checks',
    {
      schema: {
        summary: 'Begins a check of all metadata and all copies of the cluster, which this node leads.',
        security: changes,
        body: newCheckSchema,
        response: { 201: checkInfoSchema },
      },
    },
    async ({ body }, reply) => reply.status(201).send(await target.beginCheck(body as NewCheck)),
  )
  app.post(
    '/api/v1/metadata-backups',
    {
      schema: {
        summary: "Takes a backup of the metadata now, and lays it on the nodes' disks.",
        security: changes,
        response: { 201: metadataBackupSchema },
      },
    },
    async (_, reply) => reply.status(201).send(await target.backUpMetadata()),
  )
  app.post(
    '/api/v1/upgrade/finish',
    {
      schema: {
        summary: "Raises the cluster's format to the newest that every node serves.",
        security: changes,
        response: { 200: upgradeInfoSchema },
      },
    },
    async () => target.finishUpgrade(),
  )
  app.delete(
    '/api/v1/checks/:check',
    {
      schema: {
        summary: 'Stops a check.',
        security: changes,
        params: checkParams,
        response: done,
      },
    },
    async (request, reply) => {
      await target.stopCheck(checkOf(request))
      return reply.status(204).send()
    },
  )
  app.post(
    '/api/v1/vdisks',
    {
      schema: {
        summary: 'Makes a vDisk, all zeros.',
        security: changes,
        body: newVDiskSchema,
        response: { 201: vDiskInfoSchema },
      },
    },
    async ({ body }, reply) => reply.status(201).send(await target.createVDisk(body as NewVDisk)),
  )
  app.patch(
    '/api/v1/vdisks/:container/:name',
    {
      schema: {
        summary: 'Changes the size of a vDisk.',
        security: changes,
        params: vDiskParams,
        body: vDiskChangeSchema,
        response: { 200: vDiskInfoSchema },
      },
    },
    async (request) => target.changeVDisk(vDiskNameOf(request), request.body as VDiskChange),
  )
  app.delete(
    '/api/v1/vdisks/:container/:name',
    {
      schema: {
        summary: 'Deletes a vDisk; `force=true` also while a client has it open.',
        security: changes,
        params: vDiskParams,
        querystring: forceQuery,
        response: done,
      },
    },
    async (request, reply) => {
      await target.deleteVDisk(vDiskNameOf(request), { force: isForced(request) })
      return reply.status(204).send()
    },
  )
  app.patch(
    '/api/v1/scrub',
    {
      schema: {
        summary: 'Changes how often every copy is read and verified, on all nodes.',
        security: changes,
        body: scrubChangeSchema,
        response: { 200: scrubInfoSchema },
      },
    },
    async ({ body }) => target.changeScrub(body as ScrubChange),
  )
  app.patch(
    '/api/v1/nodes/:node',
    {
      schema: {
        summary: 'Changes settings of a node, at once; a mode, from then on.',
        security: changes,
        params: nodeParams,
        body: nodeChangeSchema,
        response: { 200: nodeInfoSchema },
      },
    },
    async (request) => target.changeNode(nodeOf(request), request.body as NodeChange),
  )
  app.delete(
    '/api/v1/nodes/:node',
    {
      schema: {
        summary: 'Removes a drained node, or one that is gone for good, from the cluster.',
        security: changes,
        params: nodeParams,
        response: done,
      },
    },
    async (request, reply) => {
      await target.removeNode(nodeOf(request))
      return reply.status(204).send()
    },
  )
  app.delete(
    '/api/v1/disks/:disk',
    {
      schema: {
        summary: 'Removes a drained disk, or one that is gone for good, from the cluster.',
        security: changes,
        params: diskParams,
        response: done,
      },
    },
    async (request, reply) => {
      await target.removeDisk(diskOf(request))
      return reply.status(204).send()
    },
  )
  app.patch(
    '/api/v1/disks/:disk',
    {
      schema: {
        summary: 'Changes the mode of a disk.',
        security: changes,
        params: diskParams,
        body: diskChangeSchema,
        response: { 200: diskInfoSchema },
      },
    },
    async (request) => target.changeDisk(diskOf(request), request.body as DiskChange),
  )
}

function paramsOf(path: string): { params?: TSchema } {
  if (path.endsWith('/:container/:name')) return { params: vDiskParams }
  if (path.endsWith('/:container')) return { params: containerParams }
  if (path.endsWith('/:node')) return { params: nodeParams }
  if (path.endsWith('/:check')) return { params: checkParams }
  return {}
}

function hostAndPortOf(address: Address): { host: string; port: number } {
  const at = address.lastIndexOf(':')
  return { host: address.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(address.slice(at + 1)) }
}

const bracketed = (host: string): string => (host.includes(':') ? `[${host}]` : host)
