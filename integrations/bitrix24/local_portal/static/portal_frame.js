// The portal's side of the frame protocol: opens one page of the application in an iframe and
// answers its commands by postMessage. Wrong sid, unknown and denied commands: silence.
// Source: sdk/b24jssdk, api-reference/widgets

const CHAT_PLACEMENTS = ['IM_TEXTAREA', 'IM_SIDEBAR', 'IM_CONTEXT_MENU'];
const POPUPS = ['IM_TEXTAREA', 'IM_CONTEXT_MENU', 'IMMOBILE_CONTEXT_MENU'];
const OPENABLE =
  /^\/(crm\/(deal|lead|contact|company|type)|marketplace|company\/personal\/user\/\d+|workgroups\/group\/\d+)\//;
const SILENCE = Symbol('silence');

/** A message of the frame as {method, params, cb, sid, requestId}; null when it is none. */
export function parse(data) {
  if (typeof data === 'string') {
    const parts = data.split(':');
    if (parts.length < 3) return null;
    const json = parts.slice(1, -2).join(':');
    try {
      return {
        method: parts[0],
        params: json ? JSON.parse(json) : {},
        cb: parts.at(-2),
        sid: parts.at(-1),
      };
    } catch {
      return null;
    }
  }
  if (!data || typeof data !== 'object' || typeof data.method !== 'string') return null;
  const { method, params, callback, appSid, requestId } = data;
  if (typeof requestId !== 'string' || !requestId) return null;
  if (params !== undefined && typeof params !== 'string' && typeof params !== 'object') return null;
  return { method, params: params || {}, cb: callback, sid: appSid, requestId };
}

/**
 * Open a page of the application.
 *
 * container  element that gets the iframe
 * form       {action, fields, window_name, sid} as the portal's `frame` control answers it
 * sid        32 hex, form.sid when absent
 * auth       async () => {AUTH_ID, AUTH_EXPIRES, REFRESH_ID}: new tokens; a failure is silence
 * composer   <textarea> of the chat, or null where there is none
 * onRefresh  () => void: reload the CRM card
 * denied     commands that are never answered
 * log        (entry) => void, entry = {from, method, params}
 * More, all optional: isAdmin, firstRun, slider, title, onInstallFinish, onClose, onTitle,
 * onOpenPath(path) => Promise until it is closed, onMessenger(dialogId),
 * openApplication(options) => Promise until it is closed,
 * pick(kind, params) => Promise<chosen | undefined>.
 *
 * Returns {iframe, emit(event, data), close()}.
 */
export function mountFrame(options) {
  const { container, form, composer = null, denied = [], log = () => {} } = options;
  const sid = options.sid || form.sid;
  const fields = form.fields;
  const placement = fields.PLACEMENT;
  const query = new URL(form.action).searchParams;
  const origin = new URL(form.action).origin;
  const onTab = /^CRM_.*_DETAIL_/.test(placement);
  const listeners = new Map();
  let tokens = {
    AUTH_ID: fields.AUTH_ID,
    AUTH_EXPIRES: Number(fields.AUTH_EXPIRES),
    REFRESH_ID: fields.REFRESH_ID,
  };
  let firstRun = Boolean(options.firstRun);

  const iframe = document.createElement('iframe');
  iframe.name = form.window_name;
  iframe.title = options.title || placement;

  const commands = {
    getInitData() {
      const data = {
        LANG: query.get('LANG'),
        DOMAIN: query.get('DOMAIN'),
        PROTOCOL: Number(query.get('PROTOCOL')),
        PATH: '/rest',
        ...tokens,
        MEMBER_ID: fields.member_id,
        FIRST_RUN: firstRun,
        IS_ADMIN: Boolean(options.isAdmin),
        INSTALL: Boolean(options.firstRun),
        USER_OPTIONS: {},
        APP_OPTIONS: {},
        PLACEMENT: placement,
        PLACEMENT_OPTIONS: JSON.parse(fields.PLACEMENT_OPTIONS || '{}'),
      };
      firstRun = false;
      return data;
    },
    async refreshAuth() {
      tokens = await options.auth();
      return tokens;
    },
    resizeWindow({ width, height }) {
      if (options.slider || POPUPS.includes(placement)) return SILENCE;
      iframe.style.width = typeof width === 'number' ? `${width}px` : width;
      iframe.style.height = `${parseInt(height, 10)}px`;
      return { width, height };
    },
    setTitle({ title }) {
      if (placement !== 'DEFAULT') return SILENCE;
      options.onTitle?.(title);
      return { title };
    },
    setScroll: (params) => (placement === 'DEFAULT' ? params : SILENCE),
    reloadWindow() {
      if (placement !== 'DEFAULT') return SILENCE;
      submit();
      return undefined;
    },
    setInstall: (params) => params,
    setInstallFinish() {
      options.onInstallFinish?.();
      return SILENCE;
    },
    getInterface: () => ({ command: onTab ? ['reloadData'] : [], event: [...(options.events || [])] }),
    placementBindEvent({ event }, cb) {
      listeners.set(event, [...(listeners.get(event) || []), cb]);
      return SILENCE;
    },
    reloadData() {
      if (!onTab) return SILENCE;
      options.onRefresh?.();
      return undefined;
    },
    async openApplication(params) {
      if (!options.openApplication) return SILENCE;
      await options.openApplication(params);
      return undefined;
    },
    closeApplication() {
      options.onClose?.();
      return SILENCE;
    },
    async openPath({ path }) {
      if (!OPENABLE.test(path || '')) return { result: 'error', errorCode: 'PATH_NOT_AVAILABLE' };
      await options.onOpenPath?.(path);
      return { result: 'close' };
    },
    selectUser: (params) => pick('user', params),
    selectCRM: (params) => pick('crm', params),
    imOpenMessenger({ dialogId }) {
      options.onMessenger?.(dialogId);
      return SILENCE;
    },
    'im:getImTextareaContent': (params, cb, requestId) =>
      onComposer(requestId, () => ({ text: composer.value })),
    'im:setImTextareaContent': (params, cb, requestId) =>
      onComposer(requestId, () => {
        write(params);
        return { success: true };
      }),
  };

  async function pick(kind, params) {
    const chosen = await options.pick?.(kind, params);
    return chosen === undefined ? SILENCE : chosen;
  }

  function onComposer(requestId, act) {
    if (!CHAT_PLACEMENTS.includes(placement)) return SILENCE;
    if (!composer || composer.disabled) return { requestId, message: 'There is no active dialog' };
    return { requestId, ...act() };
  }

  function write({ text = '', replace = false, withNewLine = false }) {
    const before = replace ? '' : composer.value;
    composer.value = before + (withNewLine && before ? '\n' : '') + text;
    composer.dispatchEvent(new Event('input', { bubbles: true }));
  }

  function reply(cb, value) {
    const text = value === undefined ? '' : JSON.stringify(value);
    log({ from: 'portal', method: cb, params: value });
    iframe.contentWindow?.postMessage(`${cb}:${text}`, origin);
  }

  async function onMessage(event) {
    if (event.source !== iframe.contentWindow || event.origin !== origin) return;
    const message = parse(event.data);
    if (!message) return;
    log({ from: 'frame', method: message.method, params: message.params });
    const known = Object.hasOwn(commands, message.method) && !denied.includes(message.method);
    if (message.sid !== sid || !known) return;
    try {
      const value = await commands[message.method](message.params, message.cb, message.requestId);
      if (value !== SILENCE) reply(message.cb, value);
    } catch (error) {
      log({ from: 'portal', method: 'silence', params: String(error) });
    }
  }

  function submit() {
    const html = document.createElement('form');
    html.method = 'POST';
    html.action = form.action;
    html.target = iframe.name;
    html.hidden = true;
    for (const [name, value] of Object.entries(fields)) {
      const input = document.createElement('input');
      Object.assign(input, { type: 'hidden', name, value });
      html.append(input);
    }
    document.body.append(html);
    html.submit();
    html.remove();
  }

  addEventListener('message', onMessage);
  container.append(iframe);
  submit();

  return {
    iframe,
    emit: (event, data) => (listeners.get(event) || []).forEach((cb) => reply(cb, data)),
    close() {
      removeEventListener('message', onMessage);
      iframe.remove();
    },
  };
}
