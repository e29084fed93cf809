// Talks with the portal's page that holds this frame. Every call ends: with an answer or with its time limit.

const [host, secure, sid] = window.name.split('|');
const origin = portalOrigin();
const waiting = new Map();
let count = 0;
let started = null;

function portalOrigin() {
  if (window.parent === window || !host || !sid) return null;
  try {
    return new URL(`${secure === '1' ? 'https' : 'http'}://${host}`).origin;
  } catch {
    return null;
  }
}

export const hasParent = () => origin !== null;

window.addEventListener('message', (event) => {
  if (event.origin !== origin || event.source !== window.parent || typeof event.data !== 'string') return;
  const colon = event.data.indexOf(':');
  const resolve = waiting.get(event.data.slice(0, colon));
  if (!resolve) return;
  const json = event.data.slice(colon + 1);
  try {
    resolve(json ? JSON.parse(json) : null);
  } catch {
    // Not ours: a message that is no JSON is left to the time limit.
  }
});

function ask(build, timeout) {
  return new Promise((resolve, reject) => {
    if (!origin) return reject(new Error('no portal around this page'));
    const id = `c${(count += 1)}${Math.random().toString(36).slice(2)}`;
    const timer = setTimeout(() => {
      waiting.delete(id);
      reject(new Error('the portal did not answer'));
    }, timeout);
    waiting.set(id, (value) => {
      waiting.delete(id);
      clearTimeout(timer);
      resolve(value);
    });
    window.parent.postMessage(build(id), origin);
  });
}

const isEmpty = (params) => Object.keys(params).length === 0;

// The messages are letter by letter those of the official SDK: empty parameters are left out.
export function call(command, params = {}, {timeout = 1500} = {}) {
  const json = isEmpty(params) ? '' : `${JSON.stringify(params)}:`;
  return ask((id) => `${command}:${json}${id}:${sid}`, timeout);
}

export async function im(method, params = {}, {timeout = 1500} = {}) {
  const requestId = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
  const reply = await ask((id) => ({
    method: `im:${method}`, params: isEmpty(params) ? '' : params, callback: id, appSid: sid, requestId,
  }), timeout);
  if (reply?.message) throw new Error(reply.message);
  return reply ?? {};
}

export function connect() {
  return (started ??= call('getInitData').then((data) => {
    if (data?.FIRST_RUN) call('setInstall', {install: true}).catch(() => {});
    return data;
  }, () => null));
}

export const refreshAuth = () => call('refreshAuth', {}, {timeout: 10000});

// The portal reloads its page instead of answering.
export const installFinish = () => connect().then(() => call('setInstallFinish', {})).catch(() => null);

export const getComposer = async () => (await im('getImTextareaContent')).text ?? '';

const sameText = (text) => text.replace(/\r\n?/g, '\n').trim();

// True only when the chat's field, read back, holds the text.
export async function setComposer(text, {replace = false, withNewLine = false} = {}) {
  await im('setImTextareaContent', {text, replace, withNewLine});
  const now = sameText(await getComposer());
  return replace ? now === sameText(text) : now.endsWith(sameText(text));
}
