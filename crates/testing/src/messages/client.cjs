// The client of RocketMQ in Node, with the arguments and the lines of client.py; of a producer `send` and `ordered` alone.

'use strict';

const readline = require('node:readline');
const { ConsumeResult, FilterExpression, Producer, PushConsumer, SimpleConsumer } = require('rocketmq-client-nodejs');

const [TAG, SQL] = [1, 2];
const silent = () => {};
const logger = { debug: silent, info: silent, warn: silent, error: silent };
const sleep = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds));
const now = () => (Date.now() / 1000).toFixed(4);
const tell = (...words) => process.stdout.write(words.join(' ') + '\n');

// Notes when messages came, which may be before they are handled.
const stamped = Base => class extends Base {
  async receiveMessage(...given) {
    const messages = await super.receiveMessage(...given);
    for (const message of messages) message.taken = now();
    return messages;
  }
};

function via(message) {
  const handle = message.receiptHandle || '';
  return handle.includes('~drained~') ? 'drained' : handle.includes('~gray~') ? 'lane' : 'base';
}

async function handled(message) {
  const [name, attempt] = [message.body.toString(), message.deliveryAttempt || 1];
  tell('got', name, attempt, message.taken || now(), via(message), message.properties.get('gray_lane') || '-');
  if (name.startsWith('slow')) await sleep(3_000);
  if (name.startsWith('long')) await sleep(30_000);
  if ((name.startsWith('once') && attempt <= 1) || name.startsWith('dead')) {
    tell('failed', name, now());
    return false;
  }
  return true;
}

function filters(topics) {
  return new Map(topics.split(',').map(one => {
    const [topic, kind, ...text] = one.split(':');
    return [topic, new FilterExpression(text.join(':') || '*', kind === 'sql' ? SQL : TAG)];
  }));
}

// Until its end is asked for by the end of its input.
const ended = () => new Promise(resolve => process.stdin.on('end', resolve).resume());

async function push(endpoints, topics, consumerGroup) {
  const messageListener = {
    async consume(message) {
      if (!(await handled(message))) return ConsumeResult.FAILURE;
      tell('done', message.body.toString(), now());
      return ConsumeResult.SUCCESS;
    },
  };
  // A client of several topics waits at its start for settings that may have come while it asked for the second one's route,
  // and then comes no further for five minutes (1.0.8): it starts with one topic.
  const [first, ...others] = filters(topics);
  const subscriptions = new Map([first]);
  const consumer = new (stamped(PushConsumer))({ endpoints, consumerGroup, subscriptions, messageListener, logger, namespace: '' });
  await consumer.startup();
  for (const [topic, filter] of others) await consumer.subscribe(topic, filter);
  tell('ready');
  await ended();
  await consumer.shutdown();
}

async function simple(endpoints, topics, consumerGroup) {
  const subscriptions = filters(topics);
  const consumer = new (stamped(SimpleConsumer))({ endpoints, consumerGroup, subscriptions, logger, awaitDuration: 5_000 });
  await consumer.startup();
  tell('ready');
  let runs = true;
  ended().then(() => { runs = false; });
  while (runs) {
    const messages = await consumer.receive(8, 15_000).catch(() => sleep(200)) || [];
    for (const message of messages) {
      if (!(await handled(message))) continue;
      tell('done', message.body.toString(), now());
      // One that fails may have arrived all the same: no answer came.
      await consumer.ack(message).catch(error => tell('error', String(error).replaceAll(' ', '_')));
    }
  }
  await consumer.shutdown();
}

async function produce(endpoints, topics, mode) {
  const attempts = mode === 'once' ? 1 : 60;
  const producer = new Producer({ endpoints, topic: topics.split(',')[0], maxAttempts: 1, logger });
  await producer.startup();
  tell('ready');
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [how, name, ...more] = line.trim().split(/ +/);
    const topic = more.find(word => word.startsWith('@'))?.slice(1) ?? topics.split(',')[0];
    const properties = more.filter(word => !word.startsWith('@'));
    const message = { topic, tag: name.split('-')[0], keys: [name], body: Buffer.from(name) };
    if (how === 'ordered') message.messageGroup = more[0];
    else message.properties = new Map(properties.map(word => word.includes('=') ? word.split('=') : ['x-gray-version', word]));
    for (let attempt = 1; ; attempt++) {
      try {
        await producer.send(message);
        tell('sent', name, now());
        break;
      } catch (error) {
        tell('error', String(error).replaceAll(' ', '_').slice(0, 300));
        if (attempt === attempts) {
          tell('lost', name);
          break;
        }
        await sleep(500);
      }
    }
  }
  await producer.shutdown();
}

const [kind, ...given] = process.argv.slice(2);
({ producer: produce, push, simple })[kind](...given).then(() => process.exit(0), error => {
  tell('error', String(error).replaceAll(' ', '_'));
  process.exit(1);
});
