// The portal's own page with one opened placement; tests reach it through `window.portal`.

import { mountFrame } from '/_static/portal_frame.js';

const about = JSON.parse(document.body.dataset.about);
const byId = (id) => document.getElementById(id);
const composer = byId('composer');

const portal = {
  composer,
  log: [],
  refreshed: 0,
  closed: 0,
  installed: false,
  opened: [],
  chosen: undefined,
};

const shared = {
  auth: async () => {
    const answer = await fetch(about.auth_url);
    if (!answer.ok) throw new Error('no tokens');
    return answer.json();
  },
  composer,
  denied: about.denied,
  isAdmin: about.is_admin,
  log: (entry) => {
    portal.log.push(entry);
    byId('log').textContent += `${entry.from} ${entry.method}\n`;
  },
  onRefresh: () => { portal.refreshed += 1; },
  onOpenPath: (path) => { portal.opened.push(path); },
  onMessenger: (dialogId) => { portal.opened.push(dialogId); },
  openApplication: ({ bx24_title: title, bx24_label, bx24_width, bx24_leftBoundary, ...own }) =>
    openSlider({ options: JSON.stringify(own) }, title),
  pick: async () => portal.chosen,
};

/** One more page of the application over this one; resolves when it is closed. */
async function openSlider(query, title) {
  portal.slider?.close();
  const answer = await fetch(`${about.form_url}&${new URLSearchParams(query)}`);
  const form = await answer.json();
  const slider = byId('slider');
  await new Promise((closed) => {
    portal.slider = mountFrame({
      ...shared, container: slider, form, title, slider: true, onClose: closed,
    });
    byId('slider-close').onclick = closed;
    slider.hidden = false;
  });
  slider.hidden = true;
  portal.slider.close();
}

for (const { id, author, text } of about.chat?.messages ?? []) {
  const row = document.createElement('li');
  row.append(Object.assign(document.createElement('span'), { textContent: `${author}: ${text}` }));
  for (const title of about.chat.menu) {
    const item = Object.assign(document.createElement('button'), { type: 'button', textContent: title });
    item.onclick = () =>
      openSlider({ placement: 'IM_CONTEXT_MENU', chat_id: about.chat.id, message_id: id }, title);
    row.append(item);
  }
  byId('messages').append(row);
}

portal.frame = mountFrame({
  ...shared,
  container: byId('app'),
  form: about.form,
  firstRun: about.pending,
  onClose: () => { portal.closed += 1; },
  onTitle: (title) => { document.title = title; },
  onInstallFinish: async () => {
    await fetch(about.finish_url);
    portal.installed = true;
  },
});

window.portal = portal;
