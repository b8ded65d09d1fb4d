// The processing that the original's README promises, as BullMQ's documentation would have it done: one queue
// per step, one job per order and step. Every job looks before it acts and guards what it writes, so that a job
// delivered twice does no harm; taking stock has no transaction, which spares it work that ours does.
import { Queue, Worker } from 'bullmq';
import { MongoClient, ObjectId } from 'mongodb';

import { inProcesses } from './processes.js';

inProcesses(async () => {
  const client = new MongoClient(process.env.MONGO_URI, { writeConcern: { w: 'majority', journal: true } });
  const [orders, stock, notifications] = ['orders', 'stock', 'notifications'].map((name) => client.db().collection(name));
  const connection = { url: process.env.REDIS_URL };
  const queues = Object.fromEntries(['stock', 'notification'].map((name) => [name, new Queue(name, { connection })]));

  const moved = async (_id, from, to) =>
    (await orders.updateOne({ _id, status: from }, { $set: { status: to, updatedAt: new Date() } })).modifiedCount === 1;

  const steps = {
    async payment(_id) {
      const order = await orders.findOne({ _id });
      if (order.status === 'pending') await moved(_id, 'pending', 'paid');
      await queues.stock.add('take', { orderId: _id.toHexString() });
    },
    async stock(_id) {
      const order = await orders.findOne({ _id });
      if (order.status === 'paid') {
        for (const { productId, quantity } of order.products) {
          const taken = await stock.updateOne(
            { _id: productId, onHand: { $gte: quantity } },
            { $inc: { onHand: -quantity } },
          );
          if (taken.modifiedCount === 0) return void (await moved(_id, 'paid', 'cancelled'));
        }
        await moved(_id, 'paid', 'confirmed');
      }
      await queues.notification.add('announce', { orderId: _id.toHexString() });
    },
    async notification(_id) {
      const order = await orders.findOne({ _id });
      await notifications.updateOne(
        { _id: `${order._id.toHexString()}:order.confirmed` },
        { $setOnInsert: { orderId: order._id, userId: order.userId, type: 'order.confirmed', at: new Date() } },
        { upsert: true },
      );
    },
  };

  await client.connect();
  const concurrency = Number(process.env.CONCURRENCY ?? 32);
  for (const [name, step] of Object.entries(steps)) {
    const worker = new Worker(name, (job) => step(ObjectId.createFromHexString(job.data.orderId)), {
      connection,
      concurrency,
    });
    worker.on('error', (error) => console.error(error)).on('failed', (job, error) => console.error(error));
    await worker.waitUntilReady();
  }
  console.log('ready');
});
