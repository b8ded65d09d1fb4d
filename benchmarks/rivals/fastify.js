// The same service as a good Node team would write it today: Fastify, schemas both ways, the native driver,
// and an order that is answered only when its job is in the queue.
import { Queue } from 'bullmq';
import Fastify from 'fastify';
import { MongoClient, ObjectId } from 'mongodb';

import { inProcesses } from './processes.js';

const line = {
  type: 'object',
  required: ['productId', 'quantity'],
  additionalProperties: false,
  properties: {
    productId: { type: 'string', minLength: 1, maxLength: 128 },
    quantity: { type: 'integer', minimum: 1, maximum: 1000000 },
  },
};
const draft = {
  userId: { type: 'string', minLength: 1, maxLength: 128 },
  products: { type: 'array', minItems: 1, maxItems: 200, items: line },
  totalAmount: { type: 'number', minimum: 0, maximum: 1e10 },
};
const order = {
  type: 'object',
  properties: {
    id: { type: 'string' },
    ...draft,
    status: { type: 'string' },
    createdAt: { type: 'string', format: 'date-time' },
    updatedAt: { type: 'string', format: 'date-time' },
  },
};
const problem = { type: 'object', properties: { message: { type: 'string' } } };
const create = {
  body: { type: 'object', required: Object.keys(draft), additionalProperties: false, properties: draft },
  response: { 201: { type: 'object', properties: { message: { type: 'string' }, order } } },
};
const read = {
  params: { type: 'object', properties: { id: { type: 'string', pattern: '^[0-9a-f]{24}$' } } },
  response: { 200: order, 404: problem },
};

const shown = ({ _id, ...fields }) => ({ id: _id.toHexString(), ...fields });

inProcesses(async () => {
  const client = new MongoClient(process.env.MONGO_URI, { writeConcern: { w: 'majority', journal: true } });
  const orders = client.db().collection('orders');
  const queue = new Queue('payment', { connection: { url: process.env.REDIS_URL } });
  const app = Fastify({ ajv: { customOptions: { coerceTypes: false, removeAdditional: false } } });

  app.post('/orders', { schema: create }, async (request, reply) => {
    const now = new Date();
    const document = { ...request.body, status: 'pending', createdAt: now, updatedAt: now };
    await orders.insertOne(document);
    await queue.add('authorize', { orderId: document._id.toHexString() });
    reply.code(201);
    return { message: 'Order created successfully', order: shown(document) };
  });

  app.get('/orders/:id', { schema: read }, async (request, reply) => {
    const found = await orders.findOne({ _id: ObjectId.createFromHexString(request.params.id) });
    if (found) return shown(found);
    reply.code(404);
    return { message: 'Order not found' };
  });

  await client.connect();
  await app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' });
});
