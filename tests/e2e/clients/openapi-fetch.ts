import createClient from "openapi-fetch";
import type { paths } from "./api.js";

declare const process: { argv: string[] };
const client = createClient<paths>({ baseUrl: process.argv[2] });
const product = await client.POST("/products", { body: { name: "Lamp", price: "1.00", qty: 5 } });
const productId = product.data!.data.id;
const placed = await client.POST("/orders", { body: { productId, quantity: 2 } });
const path = { id: placed.data!.data.id };
const read = await client.GET("/orders/{id}", { params: { path, query: { wait: 10 } } });
const events = await client.GET("/orders/{id}/events", { params: { path }, parseAs: "text" });
const refused = await client.POST("/orders", { body: { productId, quantity: 0 } });
const { status, quantity } = read.data!.data;
console.log(JSON.stringify([status, quantity, events.data!.split("event: status").length - 1, refused.error!.error.code]));
