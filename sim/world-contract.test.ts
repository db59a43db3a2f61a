import { platformContract } from '../src/platform/platform-contract-suite.ts'
import { World } from './world.ts'

const seed = Math.floor(Math.random() * 2 ** 32)
console.log(`seed ${seed}`)

for (const address of ['10.0.0.1:0', 'unix:/run/n1.sock'])
  platformContract(`the simulated platform at ${address}`, async (body) => {
    const world = new World({ seed })
    const platform = world.platform('n1')
    await world.play(() => platform.files.makeDirectory('/data'))
    await body({ platform, directory: '/data', address, run: (work) => world.play(() => work) })
  })
