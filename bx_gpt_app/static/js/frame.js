// The frame session and what every page in the frame shares. The only entry module of a page: it loads
// what the page needs by itself, so that hashed file names never make two copies of one module.
import * as bridge from './bridge.js';

const root = document.documentElement;
const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? '';
const byId = (id) => document.getElementById(id);
const POLLING = '[hx-trigger*="every"]';
const RETRY_SECONDS = [4, 8, 16, 30];
const IDLE_AFTER_MS = 10 * 60 * 1000;
const IDLE_POLL_MS = 15 * 1000;
const HOLD_MS = 60 * 1000;
const RENEW_BEFORE_MS = 5 * 60 * 1000;

// ---- words

const strings = JSON.parse(byId('strings')?.textContent || '{}');

export function t(key, values = {}) {
  return (strings[key] ?? key).replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
}

export function say(text) {
  const status = byId('status');
  if (status) status.textContent = text;
}

export function toast(text, {kind = 'info', seconds = 5, action = null} = {}) {
  const note = Object.assign(document.createElement('div'), {className: `toast ${kind}`});
  note.append(Object.assign(document.createElement('span'), {textContent: text}));
  const close = () => note.remove();
  if (action) {
    const button = Object.assign(document.createElement('button'), {
      type: 'button', className: 'btn', textContent: action.text,
    });
    button.addEventListener('click', () => { close(); action.run(); });
    note.append(button);
  }
  byId('toasts')?.append(note);
  let timer = setTimeout(close, seconds * 1000);
  note.addEventListener('pointerenter', () => clearTimeout(timer));
  note.addEventListener('pointerleave', () => { timer = setTimeout(close, 2000); });
  note.addEventListener('focusin', () => clearTimeout(timer));
}

// ---- session: a token in a header, never in a cookie, an address or a storage

let token = meta('frame-token');
let expiresAt = lifetime(meta('frame-lifetime-seconds'));
let renewing = null;
let ended = false;

function lifetime(seconds) {
  return Date.now() + (Number(seconds) || 3600) * 1000;
}

function planRenewal() {
  setTimeout(() => {
    if (!ended && Date.now() >= expiresAt - RENEW_BEFORE_MS) renew().catch(() => {});
  }, Math.max(1000, expiresAt - RENEW_BEFORE_MS - Date.now()));
}

// The server was not reached or has its own trouble: the session may well live on.
class Unreachable extends Error {}

async function askNewToken() {
  const auth = await bridge.refreshAuth();
  const response = await fetch(meta('frame-session-url'), {
    method: 'POST',
    credentials: 'omit',
    headers: {'Content-Type': 'application/json', Accept: 'application/json'},
    body: JSON.stringify({auth: auth?.AUTH_ID ?? '', token}),
  }).catch(() => { throw new Unreachable(); });
  if (response.status >= 500) throw new Unreachable();
  if (!response.ok) throw new Error(`session: ${response.status}`);
  const data = await response.json();
  token = data.token;
  expiresAt = lifetime(data.expires_in);
  planRenewal();
}

export function renew() {
  return (renewing ??= askNewToken().finally(() => { renewing = null; }));
}

function endSession() {
  ended = true;
  byId('offline')?.setAttribute('hidden', '');
  byId('session-ended')?.removeAttribute('hidden');
}

const offline = () => new Response('', {status: 503, headers: {'X-Offline': '1'}});

// Like fetch, with the token; renews it once when it is refused. Rejects only when it was aborted:
// a lost network is a 503 that carries X-Offline, so that htmx logs nothing and swaps nothing.
export async function frameFetch(url, options = {}) {
  if (new URL(url, location.href).origin !== location.origin) throw new Error('not our address');
  const send = async () => {
    const headers = new Headers(options.headers);
    headers.set('Authorization', `Bearer ${token}`);
    try {
      return await fetch(url, {...options, headers, credentials: 'omit'});
    } catch (error) {
      if (options.signal?.aborted) throw error;
      return offline();
    }
  };
  if (ended) return new Response('', {status: 401});
  if (renewing) await renewing.catch(() => {});
  const used = token;
  const response = await send();
  if (response.status !== 401) return response;
  let isUnreachable = false;
  if (used === token) await renew().catch((error) => { isUnreachable = error instanceof Unreachable; });
  if (isUnreachable) return offline();
  const again = used === token ? response : await send();
  if (again.status === 401) endSession();
  return again;
}

document.addEventListener('htmx:config:request', (event) => {
  const {ctx} = event.detail;
  if (ctx.sourceEvent?.type === 'every' && !mayPoll(ctx.sourceElement)) return event.preventDefault();
  if (isUnderWay(ctx) || leavesUnsaved(ctx)) return event.preventDefault();
  ctx.request.headers.Authorization = `Bearer ${token}`;
  ctx.fetch = frameFetch;
});

// htmx would queue a second click and send it after the first answer.
function isUnderWay({sourceElement, request}) {
  return request.method !== 'GET' && sourceElement.matches('button.htmx-request, form.htmx-request');
}

// ---- polling: paused in a hidden tab, slow when nobody is here, backing off on errors

let failures = 0;
let pausedUntil = 0;
let lastInput = Date.now();
let retryTimer = null;
const lastPoll = new WeakMap();
const isPoll = (ctx) => ctx.sourceEvent?.type === 'every';

for (const kind of ['pointerdown', 'keydown', 'pointermove', 'wheel']) {
  document.addEventListener(kind, () => { lastInput = Date.now(); }, {passive: true, capture: true});
}

function mayPoll(element) {
  const now = Date.now();
  if (ended || document.hidden || now < pausedUntil) return false;
  const isBusy = now - lastInput < HOLD_MS && element.querySelector('[data-hold]:not([hidden])');
  if (isBusy || document.querySelector('dialog[open]')) return false;
  if (now - lastInput > IDLE_AFTER_MS && now - (lastPoll.get(element) ?? 0) < IDLE_POLL_MS) return false;
  lastPoll.set(element, now);
  return true;
}

export function pollNow() {
  pausedUntil = 0;
  for (const element of document.querySelectorAll(POLLING)) window.htmx.trigger(element, 'every', {}, false);
}

function wentWrong() {
  const seconds = RETRY_SECONDS[Math.min(failures, RETRY_SECONDS.length - 1)];
  failures += 1;
  pausedUntil = Date.now() + seconds * 1000;
  clearInterval(retryTimer);
  const show = () => {
    const left = Math.ceil((pausedUntil - Date.now()) / 1000);
    const text = byId('offline')?.querySelector('.text');
    if (text) text.textContent = t('offline_retry', {seconds: left});
    if (left > 0) return;
    clearInterval(retryTimer);
    pollNow();
  };
  byId('offline')?.removeAttribute('hidden');
  show();
  retryTimer = setInterval(show, 1000);
}

function wentRight() {
  if (!failures) return;
  failures = 0;
  pausedUntil = 0;
  clearInterval(retryTimer);
  byId('offline')?.setAttribute('hidden', '');
}

document.addEventListener('visibilitychange', () => { if (!document.hidden) pollNow(); });
window.addEventListener('online', pollNow);

document.addEventListener('htmx:after:request', (event) => {
  const {ctx} = event.detail;
  const {status, headers} = ctx.response;
  if (status < 500) wentRight();
  if (status < 400 && ctx.sourceElement.matches?.('form')) ctx.sourceElement.closest('dialog[open]')?.close();
  if (status < 400 || status === 422 || ended) return;
  if (isPoll(ctx)) {
    if (status >= 500) wentWrong();
    return;
  }
  toast(explain(status, headers, ctx.text), {kind: 'bad', seconds: 8});
});

document.addEventListener('htmx:error', (event) => {
  const {ctx} = event.detail;
  if (!ctx) return;
  if (isPoll(ctx)) wentWrong();
  else toast(t('error'), {kind: 'bad', seconds: 8});
});

function explain(status, headers, body) {
  if (headers.get('X-Offline')) return t('offline');
  if (headers.get('Content-Type')?.startsWith('application/json')) {
    try {
      const {error_description: text} = JSON.parse(body);
      if (text) return text;
    } catch {
      // A broken body says no more than the status does.
    }
  }
  return t(strings[`error_${status}`] ? `error_${status}` : 'error');
}

// ---- swaps: focus stays or goes where the work is

let focusInside = false;

document.addEventListener('htmx:before:swap', (event) => {
  const {detail} = event;
  const status = detail.ctx.response?.status;
  if (status >= 400 && status !== 422) return event.preventDefault();
  const main = detail.tasks?.find((task) => task.type === 'main');
  const target = main?.target ?? detail.ctx.target;
  focusInside = Boolean(target?.contains?.(document.activeElement)) && document.activeElement !== document.body;
});

document.addEventListener('htmx:after:swap', ({detail: {ctx, tasks}}) => {
  const source = ctx.sourceElement;
  const target = ctx.target?.isConnected ? ctx.target : byId(ctx.target?.id) ?? source;
  if (ctx.response?.status === 422) {
    target.querySelector('[aria-invalid="true"], [data-focus]')?.focus();
  } else if (ctx.target === document.body) {
    (document.querySelector('#main [data-focus]') ?? byId('main'))?.focus();
  } else if (focusInside && document.activeElement === document.body) {
    (target.querySelector('[data-focus]') ?? target.querySelector('button, a[href], input, select, textarea, [tabindex]'))
      ?.focus({preventScroll: true});
  }
  prepare(target?.isConnected ? target : document);
  startOperator();
});

// ---- forms with unsaved changes

const changed = (field) => {
  if (field.matches('[type="checkbox"], [type="radio"]')) return field.checked !== field.defaultChecked;
  if (field.matches('select')) return [...field.options].some((option) => option.selected !== option.defaultSelected)
    && !(field.selectedIndex === 0 && ![...field.options].some((option) => option.defaultSelected));
  return field.defaultValue !== undefined && field.value !== field.defaultValue;
};

export const isDirty = (form) => [...form.elements].some((field) => field.name && changed(field));

function showSaveBar(form) {
  const bar = form.querySelector('[data-save-bar]');
  if (bar) bar.hidden = !isDirty(form) && !form.querySelector('[aria-invalid="true"]');
}

for (const kind of ['input', 'change']) {
  document.addEventListener(kind, (event) => {
    const form = event.target.closest?.('form[data-dirty-form]');
    if (form) showSaveBar(form);
  });
}
document.addEventListener('reset', (event) => {
  setTimeout(() => { if (event.target.matches('form[data-dirty-form]')) showSaveBar(event.target); });
});

function leavesUnsaved(ctx) {
  const link = ctx.sourceElement;
  const form = link.matches?.('a') && ctx.target === document.body
    && [...document.querySelectorAll('form[data-dirty-form]')].find(isDirty);
  if (!form) return false;
  askConfirm({title: t('unsaved_title'), text: t('unsaved_text'), ok: t('unsaved_leave'), danger: true}).then((yes) => {
    if (!yes) return;
    form.reset();
    link.click();
  });
  return true;
}

// ---- dialogs

export function askConfirm({title, text = '', ok = t('ok'), danger = false}) {
  const dialog = byId('confirm');
  const button = dialog.querySelector('[value="ok"]');
  dialog.querySelector('h2').textContent = title;
  dialog.querySelector('p').textContent = text;
  button.textContent = ok;
  button.className = `btn ${danger ? 'danger' : 'primary'}`;
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'ok'), {once: true});
  });
}

const agreed = new WeakSet();

// In the capturing phase, before htmx hears the click.
document.addEventListener('click', (event) => {
  const button = event.target.closest?.('[data-confirm]');
  if (!button || agreed.delete(button)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  const {confirm: title, confirmText: text, confirmOk: ok, confirmDanger: danger} = button.dataset;
  askConfirm({title, text, ok: ok || button.textContent.trim(), danger: danger !== undefined}).then((yes) => {
    if (!yes) return;
    agreed.add(button);
    button.click();
  });
}, true);

document.addEventListener('htmx:confirm', (event) => {
  event.preventDefault();
  const {ctx, issueRequest, dropRequest} = event.detail;
  askConfirm({title: ctx.confirm}).then((yes) => (yes ? issueRequest() : dropRequest()));
});

// ---- copying, downloads, small behaviour by attribute

// Works inside a click only. Shows the text selected when the browser refuses.
export function copyText(text) {
  const holder = document.querySelector('dialog[open]') ?? document.body;
  const before = document.activeElement;
  const area = Object.assign(document.createElement('textarea'), {value: text, className: 'visually-hidden', readOnly: true});
  holder.append(area);
  area.select();
  let copied = false;
  try {
    copied = document.execCommand('copy');
  } catch {
    copied = false;
  }
  area.remove();
  before?.focus?.({preventScroll: true});
  if (!copied && byId('copy-by-hand')) {
    const dialog = byId('copy-by-hand');
    dialog.querySelector('textarea').value = text;
    if (!dialog.open) dialog.showModal();
    dialog.querySelector('textarea').select();
  }
  return copied;
}

async function download(button) {
  button.classList.add('htmx-request');
  const response = await frameFetch(button.dataset.download, {method: 'POST', headers: {Accept: 'application/json'}});
  button.classList.remove('htmx-request');
  if (!response.ok) return toast(explain(response.status, response.headers, await response.text()), {kind: 'bad'});
  const {url} = await response.json();
  const link = Object.assign(document.createElement('a'), {href: url, download: ''});
  document.body.append(link);
  link.click();
  link.remove();
}

const onClick = {
  copy: (button) => {
    const from = button.dataset.copy && document.querySelector(button.dataset.copy);
    if (copyText(from ? from.value ?? from.textContent : button.dataset.copyText)) toast(t('copied'));
  },
  download,
  toggle: (button) => {
    const block = document.querySelector(button.dataset.toggle);
    block.hidden = !block.hidden;
    button.setAttribute('aria-expanded', String(!block.hidden));
    if (!block.hidden) block.querySelector('input, textarea, select, button')?.focus();
  },
  dialog: (button) => document.querySelector(button.dataset.dialog)?.showModal(),
  close: (button) => button.closest('dialog').close(),
  themeSet: (button) => {
    root.dataset.theme = button.dataset.themeSet;
    for (const one of document.querySelectorAll('[data-theme-set]')) one.setAttribute('aria-pressed', String(one === button));
  },
  retry: () => pollNow(),
  installFinish: () => bridge.installFinish(),
};

document.addEventListener('click', (event) => {
  const button = event.target.closest?.('button, a');
  if (!button) return;
  for (const [name, act] of Object.entries(onClick)) if (name in button.dataset) act(button);
});

document.addEventListener('change', (event) => {
  if ('keysSwitch' in event.target.dataset) document.body.dataset.keys = event.target.checked ? 'on' : 'off';
  if (!event.target.matches?.('select[data-nav]')) return;
  const chosen = event.target.value;
  [...document.querySelectorAll('a[href]')].find((link) => link.getAttribute('href') === chosen)?.click();
});

document.addEventListener('toast', (event) => toast(event.detail.text ?? event.detail.value, event.detail));

// ---- keys: event.code, because another keyboard layout changes event.key

const TYPING = 'input:not([type="checkbox"], [type="radio"]), textarea, select';
const isMac = /Mac|iPhone|iPad/.test(navigator.platform);

function combination(event) {
  const code = event.code === 'NumpadEnter' ? 'Enter' : event.code.replace(/^(Key|Digit)/, '');
  return [event.ctrlKey || event.metaKey ? 'Ctrl' : '', event.altKey ? 'Alt' : '', event.shiftKey ? 'Shift' : '', code]
    .filter(Boolean).join('+');
}

document.addEventListener('keydown', (event) => {
  if (event.isComposing || event.repeat || document.querySelector('dialog[open]')) return;
  if (document.querySelector('[data-keys="off"]')) return;
  const typing = event.target.matches?.(TYPING);
  let keys = combination(event);
  if (!typing && !event.ctrlKey && !event.metaKey && !event.altKey
      && (event.key === '?' || (event.shiftKey && event.code === 'Slash'))) keys = '?';
  // On a Mac Option with an arrow moves by words in a text.
  if (typing && isMac && keys.startsWith('Alt+Arrow')) return;
  const found = [...document.querySelectorAll(`[data-key~="${CSS.escape(keys)}"]`)]
    .filter((element) => !element.disabled && element.getClientRects().length);
  const button = keys === 'Alt+Z' ? found.sort((a, b) => (b.dataset.order ?? 0) - (a.dataset.order ?? 0))[0] : found[0];
  if (!button) return;
  event.preventDefault();
  button.click();
});

// ---- what new markup needs: countdowns, things that expire, save bars

let order = 0;

function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

function countDown(box) {
  const label = box.querySelector('[data-left]');
  const end = Date.now() + Number(box.dataset.countdown) * 1000;
  const timer = setInterval(() => {
    if (!box.isConnected) return clearInterval(timer);
    const left = Math.max(0, Math.ceil((end - Date.now()) / 1000));
    if (label) label.textContent = label.dataset.left === 'clock' ? clock(left) : left;
    if (left > 0) return;
    clearInterval(timer);
    pollNow();
  }, 250);
}

function prepare(scope) {
  const all = (selector) => [...(scope.matches?.(selector) ? [scope] : []), ...scope.querySelectorAll(selector)]
    .filter((element) => !element.dataset.order);
  for (const element of all('[data-key~="Alt+Z"]')) element.dataset.order = order += 1;
  for (const element of all('[data-countdown]')) { element.dataset.order = order += 1; countDown(element); }
  for (const element of all('[data-expires]')) {
    element.dataset.order = order += 1;
    setTimeout(() => {
      const held = element.contains(document.activeElement);
      const row = element.closest('[id]:not([data-expires])');
      element.remove();
      if (held) row?.querySelector('button, input, [tabindex]')?.focus();
    }, Number(element.dataset.expires) * 1000);
  }
  for (const form of scope.querySelectorAll('form[data-dirty-form]')) showSaveBar(form);
  // Long enough to be read; the portal then leaves the installer's page.
  for (const button of all('[data-install-finish="auto"]')) {
    button.dataset.order = order += 1;
    setTimeout(() => { if (button.isConnected) button.click(); }, 1500);
  }
}

let operator = null;

// Also when a link of the menu brings the operator's view into a page that came without it.
function startOperator() {
  if (!document.querySelector('[data-operator]')) return null;
  return (operator ??= import('./operator.js').then(({start}) => {
    start({bridge, frameFetch, toast, say, t, copyText, pollNow});
  }));
}

// ---- start

if (token) planRenewal();
bridge.connect();
prepare(document);
await startOperator();
document.querySelector('[data-focus-on-load]')?.focus({preventScroll: true});
root.dataset.ready = '';
