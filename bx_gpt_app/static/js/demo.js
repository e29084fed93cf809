// The demo's page: an invented portal. It plays the client, the chat and the card; the frame in the middle is the app itself.

const page = document.getElementById('demo');
const byId = (id) => document.getElementById(id);
const strings = JSON.parse(byId('demo-strings').textContent);
const urls = page.dataset;
const token = document.querySelector('meta[name="demo-token"]').content;
const POLL_MS = 1000;
const SLOW_POLL_MS = 8000;

const {mountFrame} = await import(urls.portalFrameUrl);

let rev = 0;
let chats = [];
let chatId = null;
let wantsNewClient = false;
let mounted = '';
let mounting = null;
let shown = {chat: undefined, messages: 0, item: null, values: new Map()};
let timer = null;
let asking = false;

async function post(url, data) {
  let response;
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: {'Content-Type': 'application/json', 'X-Demo-Token': token},
      body: JSON.stringify(data),
    });
  } catch {
    return toast(strings.offline);
  }
  if (!response.ok) return toast(strings[`error_${response.status}`] ?? strings.error);
  return response.status === 204 ? {} : response.json();
}

function toast(text) {
  const note = element('div', 'toast', text);
  byId('toasts').replaceChildren(note);
  setTimeout(() => note.remove(), 6000);
  return null;
}

function element(tag, className = '', text = '') {
  return Object.assign(document.createElement(tag), {className, textContent: text});
}

const clock = (at) => (at ? new Date(at).toLocaleTimeString(document.documentElement.lang, {hour: '2-digit', minute: '2-digit'}) : '');

// ---- what the state says

function showChats() {
  if (!wantsNewClient && !chats.some((chat) => chat.id === chatId)) chatId = chats.at(-1)?.id ?? null;
  const options = chats.map((chat) => new Option(chat.title, chat.id, false, chat.id === chatId));
  if (wantsNewClient || !chats.length) options.push(new Option(strings.new_client, '', true, true));
  byId('chats').replaceChildren(...options);
  byId('chat-avatar').textContent = (byId('chats').selectedOptions[0]?.text ?? '?').slice(0, 1).toUpperCase();
  showMessages(chats.find((chat) => chat.id === chatId)?.messages ?? []);
}

function showMessages(messages) {
  const list = byId('messages');
  const isSameChat = shown.chat === chatId;
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  const before = isSameChat ? shown.messages : messages.length;
  list.replaceChildren(...messages.map((message, index) => showMessage(message, index >= before)));
  byId('no-messages').hidden = messages.length > 0;
  if (!isSameChat || (atEnd && messages.length !== shown.messages)) list.scrollTop = list.scrollHeight;
  shown.chat = chatId;
  shown.messages = messages.length;
}

function showMessage({author, name, text, at}, isFresh) {
  const box = element('div', `message ${author}${isFresh ? ' fresh' : ''}`);
  if (author !== 'system') {
    const who = element('div', 'who');
    const title = name || strings[author] || '';
    who.append(element('b', '', author === 'whisper' ? `${title} · ${strings.whisper}` : title), element('time', '', clock(at)));
    box.append(who);
  }
  box.append(element('span', '', text));
  return box;
}

function showCard(item, timeline = []) {
  byId('crm-card').hidden = !item;
  byId('no-card').hidden = Boolean(item);
  if (!item) return;
  byId('item-type').textContent = item.type;
  byId('item-title').textContent = item.title;
  const isSameItem = shown.item === item.id;
  const changed = [];
  byId('fields').replaceChildren(...item.fields.map(({name, title, value}) => {
    const row = element('div');
    row.append(element('dt', '', title), element('dd', value ? '' : 'none', value || strings.empty));
    if (isSameItem && value && shown.values.get(name) !== value) {
      row.className = 'flash';
      changed.push(`${title}: ${value}`);
    }
    return row;
  }));
  if (changed.length) byId('status').textContent = `${strings.updated}. ${changed.join('. ')}`;
  shown.item = item.id;
  shown.values = new Map(item.fields.map(({name, value}) => [name, value]));
  byId('timeline').replaceChildren(...timeline.map(({at, title, text}) => {
    const row = element('li');
    row.append(element('b', '', title), ' ', element('time', '', clock(at)), '\n', element('span', '', text));
    return row;
  }));
}

function show(state) {
  if (state.rev === rev) return;
  ({rev, chats} = state);
  showChats();
  if (!wantsNewClient) showCard(state.item, state.timeline);
  for (const choice of document.querySelectorAll('[name="mode"]')) choice.checked = choice.value === state.line?.mode;
  byId('model').hidden = !state.model;
  byId('model-name').textContent = state.model?.name ?? '';
  byId('model-demo').hidden = !state.model?.demo;
  byId('typing').hidden = !state.typing;
  placeFrame();
}

// ---- polling

async function look() {
  clearTimeout(timer);
  if (asking) return;
  asking = true;
  let wait = POLL_MS;
  try {
    const response = await fetch(`${urls.stateUrl}?${new URLSearchParams({since: rev, chat: chatId ?? ''})}`);
    if (response.status === 200) show(await response.json());
    else if (!response.ok) wait = SLOW_POLL_MS;
  } catch {
    wait = SLOW_POLL_MS;
    byId('status').textContent = strings.offline;
  } finally {
    asking = false;
  }
  if (!document.hidden) timer = setTimeout(look, wait);
}

document.addEventListener('visibilitychange', () => { if (!document.hidden) look(); });

// ---- the frame

async function placeFrame() {
  const role = byId('role').value;
  page.classList.toggle('admin', role === 'admin');
  const wanted = role === 'admin' ? 'admin' : chatId && !wantsNewClient ? `chat:${chatId}` : '';
  if (wanted === mounted) return;
  mounted = wanted;
  mounting?.close();
  mounting = null;
  if (!wanted) return;
  const opening = {placement: role === 'admin' ? 'DEFAULT' : 'IM_SIDEBAR', chat_id: role === 'admin' ? null : chatId, role};
  const data = await post(urls.frameUrl, opening);
  if (!data || mounted !== wanted) return;
  mounting = mountFrame({
    container: byId('frame-place'),
    form: {action: data.action, fields: data.fields, window_name: data.window_name, sid: data.sid},
    auth: async () => (await post(urls.frameUrl, opening)).auth,
    title: byId('app-name').textContent,
    isAdmin: role === 'admin',
    composer: byId('composer'),
    onRefresh: look,
    onMessenger: () => byId('composer').focus(),
  });
  mounting.iframe.id = 'app';
}

// ---- what a visitor does

async function writeAsClient(text, chat) {
  const data = await post(urls.sayUrl, {chat_id: chat, text});
  if (!data) return false;
  if (chat === null) {
    chatId = data.chat_id ?? null;
    wantsNewClient = false;
    rev = 0;
  }
  look();
  return true;
}

byId('client-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const field = byId('client-text');
  const text = field.value.trim();
  if (!text) return field.focus();
  if (await writeAsClient(text, wantsNewClient ? null : chatId)) field.value = '';
});

byId('client-form').addEventListener('click', (event) => {
  const story = event.target.closest('[data-text]');
  if (story) writeAsClient(story.dataset.text, null);
});

async function sendAsOperator() {
  const field = byId('composer');
  const text = field.value.trim();
  if (!text || !chatId) return field.focus();
  if (await post(urls.operatorSayUrl, {chat_id: chatId, text})) field.value = '';
  look();
}

byId('operator-form').addEventListener('submit', (event) => {
  event.preventDefault();
  sendAsOperator();
});

byId('composer').addEventListener('keydown', (event) => {
  if (event.code !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  sendAsOperator();
});

byId('chats').addEventListener('change', (event) => {
  chatId = chats.find((chat) => String(chat.id) === event.target.value)?.id ?? null;
  wantsNewClient = chatId === null;
  rev = 0;
  shown.item = null;
  look();
});

byId('new-client').addEventListener('click', () => {
  wantsNewClient = true;
  chatId = null;
  rev = 0;
  shown.item = null;
  showCard(null);
  look();
  byId('client-text').focus();
});

byId('mode').addEventListener('change', async (event) => {
  await post(urls.modeUrl, {mode: event.target.value});
  look();
});

byId('role').addEventListener('change', placeFrame);

byId('reset').addEventListener('click', async () => {
  if (!(await post(urls.resetUrl, {}))) return;
  rev = 0;
  chatId = null;
  wantsNewClient = false;
  shown = {chat: undefined, messages: 0, item: null, values: new Map()};
  byId('composer').value = '';
  look();
});

await look();
document.documentElement.dataset.ready = '';
