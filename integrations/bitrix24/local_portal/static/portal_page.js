// The portal's own page with one opened placement; tests reach it through `window.portal`.

import { mountFrame } from '/_static/portal_frame.js';

const about = JSON.parse(document.body.dataset.about);
const composer = document.getElementById('composer');
const shown = document.getElementById('log');

const portal = {
  composer,
  log: [],
  refreshed: 0,
  closed: 0,
  installed: false,
  opened: [],
  chosen: undefined,
};

portal.frame = mountFrame({
  container: document.getElementById('app'),
  form: about.form,
  auth: async () => {
    const answer = await fetch(about.auth_url);
    if (!answer.ok) throw new Error('no tokens');
    return answer.json();
  },
  composer,
  denied: about.denied,
  isAdmin: about.is_admin,
  firstRun: about.pending,
  log: (entry) => {
    portal.log.push(entry);
    shown.textContent += `${entry.from} ${entry.method}\n`;
  },
  onRefresh: () => { portal.refreshed += 1; },
  onClose: () => { portal.closed += 1; },
  onTitle: (title) => { document.title = title; },
  onOpenPath: (path) => { portal.opened.push(path); },
  onMessenger: (dialogId) => { portal.opened.push(dialogId); },
  pick: async () => portal.chosen,
  onInstallFinish: async () => {
    await fetch(about.finish_url);
    portal.installed = true;
  },
});

window.portal = portal;
