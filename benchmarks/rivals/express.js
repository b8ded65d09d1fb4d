// The original order service, rebuilt from its README: Express 4, Mongoose 8, and a BullMQ job that nobody
// waits for. Its writes get the durability ours have (majority, journaled), or there would be no comparison.
import { Queue } from 'bullmq';
import express from 'express';
import mongoose from 'mongoose';

import { inProcesses } from './processes.js';

const orderSchema = new mongoose.Schema(
  {
    userId: { type: String, required: true },
    products: [
      {
        _id: false,
        productId: { type: String, required: true },
        quantity: { type: Number, required: true },
      },
    ],
    status: { type: String, enum: ['pending', 'shipped', 'delivered'], default: 'pending' },
    totalAmount: { type: Number, required: true },
  },
  { timestamps: true },
);
const Order = mongoose.model('Order', orderSchema);

const shown = (order) => ({
  id: order.id,
  userId: order.userId,
  products: order.products,
  status: order.status,
  totalAmount: order.totalAmount,
  createdAt: order.createdAt,
  updatedAt: order.updatedAt,
});

function routes(queue) {
  const orders = express.Router();

  orders.post('/', async (req, res) => {
    try {
      const { userId, products, totalAmount } = req.body;
      const order = await Order.create({ userId, products, totalAmount });
      queue.add('authorize', { orderId: order.id });
      res.status(201).json({ message: 'Order created successfully', order: shown(order) });
    } catch (error) {
      res.status(error.name === 'ValidationError' ? 400 : 500).json({ message: error.message });
    }
  });

  orders.get('/', async (req, res) => {
    try {
      res.json((await Order.find()).map(shown));
    } catch (error) {
      res.status(500).json({ message: error.message });
    }
  });

  orders.get('/:id', async (req, res) => {
    try {
      const order = await Order.findById(req.params.id);
      if (!order) return res.status(404).json({ message: 'Order not found' });
      res.json(shown(order));
    } catch (error) {
      res.status(500).json({ message: error.message });
    }
  });

  orders.put('/:id', async (req, res) => {
    try {
      const { status } = req.body;
      const order = await Order.findByIdAndUpdate(req.params.id, { status }, { new: true, runValidators: true });
      if (!order) return res.status(404).json({ message: 'Order not found' });
      res.json({ message: 'Order updated successfully', order: shown(order) });
    } catch (error) {
      res.status(error.name === 'ValidationError' ? 400 : 500).json({ message: error.message });
    }
  });

  orders.delete('/:id', async (req, res) => {
    try {
      const order = await Order.findByIdAndDelete(req.params.id);
      if (!order) return res.status(404).json({ message: 'Order not found' });
      res.json({ message: 'Order deleted successfully' });
    } catch (error) {
      res.status(500).json({ message: error.message });
    }
  });

  return orders;
}

inProcesses(async () => {
  await mongoose.connect(process.env.MONGO_URI, { writeConcern: { w: 'majority', journal: true } });
  const queue = new Queue('payment', { connection: { url: process.env.REDIS_URL } });
  const app = express();
  app.use(express.json());
  app.use('/orders', routes(queue));
  app.listen(Number(process.env.PORT), '127.0.0.1');
});
