import { client } from "./hey/client.gen.js";
import { createOrder, createProduct, getOrder, watchOrder } from "./hey/sdk.gen.js";

declare const process: { argv: string[] };
client.setConfig({ baseUrl: process.argv[2] });
const product = await createProduct({ body: { name: "Lamp", price: "1.00", qty: 5 } });
const productId = product.data!.data.id;
const placed = await createOrder({ body: { productId, quantity: 2 } });
const path = { id: placed.data!.data.id };
const read = await getOrder({ path, query: { wait: 10 } });
let events = 0;
for await (const event of (await watchOrder({ path, sseMaxRetryAttempts: 1 })).stream) events += event ? 1 : 0;
const refused = await createOrder({ body: { productId, quantity: 0 } });
const { status, quantity } = read.data!.data;
console.log(JSON.stringify([status, quantity, events, refused.error!.error.code]));
