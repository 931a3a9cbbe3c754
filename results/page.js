/* The leaderboard: filter, sort and page over the rows of #data. State lives in the address (#q=..&s=..&p=..), so a view can
   be sent as a link. Rows without a number stay at the end whichever way a column is sorted. */
'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent), all = data.rows, head = data.head;
  const table = document.getElementById('board'), body = table.tBodies[0];
  const buttons = [...table.querySelectorAll('th button')], $ = id => document.getElementById(id);
  const text = c => typeof c === 'string' ? c : c[0], value = c => typeof c === 'string' ? c : c[1];
  const state = {q: '', s: '', p: 0, n: 50};
  const selects = [];
  let rows = all;

  const compare = (a, op, b) => {
    if (op === '=') return a === b;
    if (op === '!=') return a !== b;
    const x = Number(a), y = Number(b);
    if (a === '' || Number.isNaN(x) || Number.isNaN(y)) return false;
    return op === '<' ? x < y : op === '>' ? x > y : op === '<=' ? x <= y : x >= y;
  };

  /* "task=s4 miou>70 resnet": comparisons of a column with what is shown, and words that occur in a key. */
  const predicate = query => {
    const tests = (query.match(/\S+/g) || []).map(word => {
      const m = word.match(/^(.+?)(!=|<=|>=|=|<|>)(.*)$/), at = m ? head.findIndex(h => h.f === m[1]) : -1;
      if (at >= 0)
        return r => compare(head[at].r ? (text(r[at]).match(/^[-+]?[\d.]+/) || [''])[0] : text(r[at]), m[2], m[3]);
      const low = word.toLowerCase();
      return r => r.some((c, i) => !head[i].r && text(c).toLowerCase().includes(low));
    });
    return r => tests.every(t => t(r)) && selects.every(s => s.value === '' || text(r[s.at]) === s.value);
  };

  const order = () => {
    const m = state.s.match(/^(\d+)([ad])$/);
    if (!m || !head[m[1]]) return rows;
    const i = Number(m[1]), d = m[2] === 'd' ? -1 : 1;
    return [...rows].sort((x, y) => {
      const u = value(x[i]), v = value(y[i]);
      if (u === null || v === null) return (u === null) - (v === null);
      return d * (typeof u === 'number' && typeof v === 'number' ? u - v :
                  String(u).localeCompare(String(v), undefined, {numeric: true}));
    });
  };

  const draw = () => {
    const shown = order(), pages = Math.max(1, Math.ceil(shown.length / state.n));
    state.p = Math.min(Math.max(0, state.p), pages - 1);
    const part = shown.slice(state.p * state.n, (state.p + 1) * state.n);
    body.replaceChildren(...part.map(r => {
      const tr = document.createElement('tr');
      r.forEach((c, i) => {
        const td = document.createElement('td');
        td.textContent = text(c);
        td.dir = 'auto';
        td.className = (head[i].r ? 'n ' : '') + (c[2] && typeof c !== 'string' ? c[2] : '');
        tr.append(td);
      });
      return tr;
    }));
    buttons.forEach((b, i) => {
      const th = b.closest('th'), m = state.s.match(/^(\d+)([ad])$/);
      if (m && Number(m[1]) === i) th.setAttribute('aria-sort', m[2] === 'd' ? 'descending' : 'ascending');
      else th.removeAttribute('aria-sort');
    });
    const from = shown.length ? state.p * state.n + 1 : 0;
    $('count').textContent = `${from} to ${from ? from + part.length - 1 : 0} of ${shown.length} rows` +
      (shown.length < all.length ? `, ${all.length} without the filter` : '');
    $('first').disabled = $('prev').disabled = state.p === 0;
    $('last').disabled = $('next').disabled = state.p >= pages - 1;
  };

  const remember = () => {
    const u = new URLSearchParams();
    for (const k of ['q', 's', 'p']) if (state[k]) u.set(k, state[k]);
    history.replaceState(null, '', '#' + u);
  };
  const refilter = () => { rows = all.filter(predicate(state.q)); draw(); };
  const change = () => { state.p = 0; refilter(); remember(); };
  const go = p => { state.p = p; draw(); remember(); };

  /* A key with few values gets a list to choose from. */
  head.forEach((h, at) => {
    if (h.r) return;
    const values = new Set();
    for (const r of all) if (values.add(text(r[at])).size > 24) return;
    if (values.size < 2) return;
    const label = document.createElement('label'), list = document.createElement('select');
    label.append(h.n, list);
    list.append(new Option('all', ''), ...[...values].sort((a, b) => a.localeCompare(b, undefined, {numeric: true}))
      .map(v => new Option(v, v)));
    list.at = at;
    list.addEventListener('change', change);
    selects.push(list);
    $('bar').append(label);
  });

  buttons.forEach((b, i) => b.addEventListener('click', () => {
    const down = head[i].r ? 'd' : 'a', up = head[i].r ? 'a' : 'd';
    state.s = state.s === i + down ? i + up : state.s === i + up ? '' : i + down;
    change();
  }));
  $('q').addEventListener('input', () => { state.q = $('q').value; change(); });
  $('size').addEventListener('change', () => { state.n = Number($('size').value); change(); });
  $('first').addEventListener('click', () => go(0));
  $('prev').addEventListener('click', () => go(state.p - 1));
  $('next').addEventListener('click', () => go(state.p + 1));
  $('last').addEventListener('click', () => go(Infinity));
  document.addEventListener('keydown', e => {
    if (e.key === '/' && !/^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName)) {
      e.preventDefault();
      $('q').focus();
    }
    if (e.key === 'Escape' && e.target === $('q')) { $('q').value = state.q = ''; change(); }
  });

  const asked = new URLSearchParams(location.hash.slice(1));
  state.q = $('q').value = asked.get('q') || '';
  state.s = asked.get('s') || '';
  state.p = Number(asked.get('p')) || 0;
  $('bar').hidden = $('pager').hidden = false;
  refilter();
})();
