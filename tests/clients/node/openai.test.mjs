// openai-node against the real binary.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';

import OpenAI from 'openai';

const messages = [{ role: 'user', content: 'Hello!' }];
const fault = (spec) => `fault:${spec}`;
let proxy, client, attempts;

before(async () => {
  proxy = spawn(process.env.TOWERGATE_BIN, ['demo', '--listen', '127.0.0.1:0'], {
    env: { ...process.env, OPENAI_MAX_RETRIES: '0', OPENAI_TIMEOUT: '2' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let url;
  for await (const line of createInterface({ input: proxy.stdout })) {
    url = line.match(/listening on (http:\S+)/)?.[1];
    if (url) break;
  }
  assert.ok(url, 'the proxy did not start');
  const counting = (...args) => (attempts++, fetch(...args));
  client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'unused', fetch: counting });
});

after(async () => {
  proxy.kill('SIGTERM');
  const [code] = await once(proxy, 'exit');
  assert.equal(code, 0);
});

test('a chat completion, and a stream', async () => {
  const whole = await client.chat.completions.create({ model: 'gpt-4o', messages });
  let text = '';
  for await (const chunk of await client.chat.completions.create({ model: 'gpt-4o', messages, stream: true })) {
    text += chunk.choices[0]?.delta.content ?? '';
  }
  assert.match(whole.choices[0].message.content, /^You said: Hello!/);
  assert.match(text, /^You said: Hello!/);
});

test('embeddings, models and responses', async () => {
  const { data } = await client.embeddings.create({ model: 'text-embedding-3-small', input: 'one' });
  assert.ok(data[0].embedding.length > 1);
  assert.ok((await client.models.list()).data.length > 0);
  const kinds = [];
  for await (const event of await client.responses.create({ model: 'gpt-4o', input: 'Hello!', stream: true })) {
    kinds.push(event.type);
  }
  assert.equal(kinds.at(-1), 'response.completed');
});

for (const [spec, exception, status] of [
  ['status=400', OpenAI.BadRequestError, 400],
  ['status=404', OpenAI.NotFoundError, 404],
  ['status=401', OpenAI.InternalServerError, 500],
  ['status=429', OpenAI.RateLimitError, 429],
  ['status=500', OpenAI.InternalServerError, 502],
  ['stall-head', OpenAI.InternalServerError, 504],
  ['reset-before-head', OpenAI.InternalServerError, 502],
]) {
  for (const stream of [false, true]) {
    test(`${spec}${stream ? ', streamed,' : ''} is its typed error and is not tried again`, async () => {
      attempts = 0;
      const call = client.chat.completions.create({ model: fault(spec), messages, stream });
      await assert.rejects(call, (error) => error instanceof exception && error.status === status);
      assert.equal(attempts, 1);
    });
  }
}

for (const spec of ['truncate-after=3', 'reset-after=3', 'cut-after=3', 'stall-after=3']) {
  test(`a stream with ${spec} throws`, async () => {
    const stream = await client.chat.completions.create({ model: fault(spec), messages, stream: true });
    await assert.rejects(async () => {
      for await (const _ of stream);
    });
  });
}

// The event that tells why comes before the cut, and must not be lost to a consumer that has not read it by then.
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const block = (ms) => {
  for (const until = performance.now() + ms; performance.now() < until; );
};
for (const pause of [wait, block]) {
  for (const spec of ['truncate-after=4', 'cut-after=4']) {
    test(`a consumer that is busy (${pause.name}) is told why its stream broke (${spec})`, async () => {
      const stream = await client.chat.completions.create({ model: fault(spec), messages, stream: true });
      const reading = async () => {
        for await (const _ of stream) await pause(200);
      };
      await assert.rejects(reading, (error) => error instanceof OpenAI.APIError && /upstream/.test(error.message));
    });
  }
}
