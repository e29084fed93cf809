// The operator's frame: the reply goes into the chat, and the operator's own text is never lost.
// Everything it needs comes in through start(); texts are in the page.

const one = (selector) => document.querySelector(selector);
const isOpen = (selector) => Boolean(one(selector) && !one(selector).hidden);
const draftText = () => one('[data-draft-text]');
const isEdited = (area) => Boolean(area) && area.value !== area.defaultValue;

const normal = (text) => text.replace(/\r\n?/g, '\n').trim();

// The chat reads square brackets as markup; a zero-width space after the bracket makes them plain.
export const plain = (text) => text.replace(/\[(?=[a-z/*])/gi, '[\u200B');

export function start({bridge, frameFetch, toast, say, t, copyText, pollNow}) {
  let lastInsert = null;
  let keptComposer = null;
  let keptDraft = null;
  let carried = [];
  let insertedTimer = null;
  let busy = false;

  function show(selector, visible = true) {
    const block = one(selector);
    if (block) block.hidden = !visible;
    return block;
  }

  function report(how) {
    const draft = one('[data-draft]');
    const url = draft?.dataset.usedUrl;
    if (!url) return;
    const body = new URLSearchParams({suggestion: draft.dataset.suggestion ?? '', how, text: draftText()?.value ?? ''});
    frameFetch(url, {method: 'POST', body}).catch(() => {});
  }

  function copyDraft(text, message) {
    if (copyText(text)) toast(message, {seconds: 8});
    say(message);
    report('copy');
  }

  function inserted(text) {
    lastInsert = text;
    show('#insert-choice', false);
    show('#inserted');
    show('#restore-composer', keptComposer !== null);
    say(t('inserted'));
    clearTimeout(insertedTimer);
    insertedTimer = setTimeout(() => show('#inserted', false), 5000);
    report('insert');
  }

  const isOurs = (text) => [lastInsert, one('[data-draft]')?.dataset.inserted]
    .some((ours) => ours && normal(plain(ours)) === normal(text));

  // how: 'ask' when another text in the chat's field must not be touched without a word.
  async function insert(how = 'ask') {
    const area = draftText();
    if (!area || busy) return;
    const text = plain(area.value);
    busy = true;
    try {
      const current = await bridge.getComposer();
      const foreign = normal(current) !== '' && !isOurs(current);
      if (foreign && how === 'ask') {
        const choice = show('#insert-choice');
        if (choice) choice.querySelector('button').focus();
        say(t('composer_has_text'));
        return;
      }
      if (foreign) keptComposer = current;
      const written = how === 'append' && foreign
        ? await bridge.setComposer(text, {withNewLine: true})
        : await bridge.setComposer(text, {replace: true});
      if (!written) throw new Error('the field shows another text');
      inserted(text);
    } catch {
      show('#insert-choice', false);
      copyDraft(text, t('chat_silent'));
    } finally {
      busy = false;
    }
  }

  async function restoreComposer() {
    const text = keptComposer;
    if (text === null) return;
    try {
      if (!(await bridge.setComposer(text, {replace: true}))) throw new Error('the field shows another text');
      keptComposer = null;
      show('#restore-composer', false);
      say(t('text_restored'));
    } catch {
      if (copyText(text)) toast(t('chat_silent'), {seconds: 8});
    }
  }

  function restoreDraft() {
    const area = draftText();
    if (!area || keptDraft === null) return;
    area.value = keptDraft;
    keptDraft = null;
    show('#restore-draft', false);
    area.dispatchEvent(new Event('input', {bubbles: true}));
    area.focus();
  }

  function refreshDraft() {
    const area = draftText();
    if (isEdited(area)) {
      keptDraft = area.value;
      area.value = area.defaultValue;
    }
    show('#draft-changed', false);
    show('#restore-draft', keptDraft !== null);
    pollNow();
  }

  const actions = {
    insert: () => insert('ask'),
    'insert-append': () => insert('append'),
    'insert-replace': () => insert('replace'),
    'insert-cancel': () => {
      show('#insert-choice', false);
      one('[data-action="insert"]')?.focus();
    },
    'restore-composer': restoreComposer,
    'restore-draft': restoreDraft,
    'refresh-draft': refreshDraft,
    copy: () => copyDraft(draftText()?.value ?? '', t('copied')),
    'open-chat': (button) => bridge.call('imOpenMessenger', {dialogId: button.dataset.dialogId}).catch(() => {}),
  };

  document.addEventListener('click', (event) => {
    const button = event.target.closest?.('[data-action]');
    if (button) actions[button.dataset.action]?.(button);
  });

  function allowSending() {
    const edited = isEdited(draftText());
    for (const button of document.querySelectorAll('[data-needs-edit]')) button.disabled = !edited;
    for (const mark of document.querySelectorAll('[data-edited-mark]')) mark.hidden = !edited;
  }

  document.addEventListener('input', (event) => {
    if (event.target.matches?.('[data-draft-text]')) allowSending();
  });

  // A poll never replaces what the operator has typed; what he asked for himself does, and can be undone.
  document.addEventListener('htmx:before:swap', (event) => {
    const {ctx, tasks} = event.detail;
    const main = tasks?.find((task) => task.type === 'main');
    if (!main?.target?.querySelectorAll || ctx.swap === 'none') return;
    const area = main.target.querySelector('[data-draft-text]');
    carried = [];
    if (isEdited(area)) {
      const next = main.fragment.querySelector('[data-draft-text]');
      const isSameDraft = next?.defaultValue === area.defaultValue;
      if (!isSameDraft && ctx.sourceEvent?.type === 'every') {
        event.preventDefault();
        const text = main.fragment.querySelector('[data-notice]')?.dataset.notice || t('client_added');
        const notice = one('#draft-changed');
        if (notice?.hidden || notice?.querySelector('.text').textContent !== text) {
          show('#draft-changed');
          notice.querySelector('.text').textContent = text;
          say(text);
        }
        return;
      }
      if (!isSameDraft && !ctx.sourceElement.closest('[data-sends]')) keptDraft = area.value;
    }
    for (const field of main.target.querySelectorAll('[data-draft-text], [data-protect]')) {
      if (field.id && isEdited(field) && field.form !== ctx.sourceElement) carried.push(field);
    }
  });

  document.addEventListener('htmx:after:swap', () => {
    for (const old of carried) {
      const field = document.getElementById(old.id);
      const isOther = old.matches('[data-draft-text]') && field?.defaultValue !== old.defaultValue;
      if (field && field !== old && !isOther) field.value = old.value;
    }
    carried = [];
    if (isOpen('#draft-changed') && !isEdited(draftText())) show('#draft-changed', false);
    show('#restore-draft', keptDraft !== null && Boolean(draftText()));
    allowSending();
  });

  // The card shows what was written only after it has read its data again.
  document.addEventListener('crm-changed', () => {
    if (one('[data-operator]')?.dataset.reloadsCard !== undefined) bridge.call('reloadData', {}).catch(() => {});
  });

  allowSending();
}
