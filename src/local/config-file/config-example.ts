/** What `ndfs config example` prints: a file without mistakes, to be changed to what there is. */
export const configExample = `# The configuration of one node of an NDFS cluster: /etc/ndfs/ndfs.yaml, one on each machine.
# Check it with: ndfs config check /etc/ndfs/ndfs.yaml

version: 1

# The same cluster on all machines. The first node makes it (ndfs init), the others join it (ndfs join TOKEN); both write the
# cluster's id here, as \`id\`, and make the files. Whoever can read the key file can read and change everything in the cluster.
cluster:
  keyFile: /etc/ndfs/cluster.key
  # The operator's token, which the ndfs command shows to the API. Left out, the file \`token\` beside the key file.
  tokenFile: /etc/ndfs/token

# The name of this node: small letters, digits and -. A name is never used again, not even after the node was removed.
node: n1

# What fails as one with others: a chassis, a rack. Copies lie in as many blocks as there are.
block: b1

# The node's own folder: its lock, its sockets, which process it is. At most 96 characters.
dir: /var/lib/ndfs

# Addresses of this machine; the other nodes and the clients are told these.
listen:
  http: 10.0.0.1:9440     # the API, and /metrics
  peer: 10.0.0.1:9441     # for the other nodes
  nbd: 10.0.0.1:10809
  nfs: 10.0.0.1:2049      # left out, there is no NFS
  # NFS at all addresses of the machine, so that one of them may move from node to node:
  # nfsEverywhere: 0.0.0.0:2049
  # Clients that know no ports ask here for those of NFS:
  # portMapper: 10.0.0.1:111

# Folders, each on a physical disk of its own. ndfs init and ndfs join format them: they must be empty then.
# capacity is what NDFS may use; leave a tenth of the file system free. The log lies on flash: at least one is needed.
disks:
  - { id: n1-flash-0, path: /srv/ndfs/flash0, tier: flash, capacity: 100GiB }
  - { id: n1-hdd-0, path: /srv/ndfs/hdd0, tier: hdd, capacity: 1TiB }

# Memory for what was read last.
cache: 2GiB

# How long a write waits for all of its copies before the guest gets an error.
writeWait: 60s

# Coordination: exactly one of zookeeper and store.
zeus:
  zookeeper:
    servers: [10.0.0.1:2181, 10.0.0.2:2181, 10.0.0.3:2181]
    chroot: /ndfs
    user: ndfs
    passwordFile: /etc/ndfs/zookeeper.password
  # In its place, and for tries only, as the cluster stands still without it: one store on one machine, run there with
  # \`ndfs store --config /etc/ndfs/ndfs.yaml\`. Only that machine's file has \`dir\`.
  # store: { address: 10.0.0.1:9460, dir: /var/lib/ndfs-store }

# Metadata: exactly one of cassandra and store, the same kind as above.
medusa:
  cassandra:
    contactPoints: [10.0.0.1, 10.0.0.2, 10.0.0.3]
    port: 9042
    datacenter: dc1
    keyspace: ndfs
    user: ndfs
    passwordFile: /etc/ndfs/cassandra.password
    # With it connections are encrypted, and the servers' certificates are held against this authority:
    # caFile: /etc/ndfs/ca.pem
  # store: { address: 10.0.0.1:9460 }

# Encryption between nodes.
# tls: { caFile: /etc/ndfs/ca.pem, certFile: /etc/ndfs/node.pem, keyFile: /etc/ndfs/node.key }

# Encryption of NBD: a certificate, or keys shared with the clients.
# nbdTls: { certFile: /etc/ndfs/nbd.pem, keyFile: /etc/ndfs/nbd.key, caFile: /etc/ndfs/clients-ca.pem }
`
