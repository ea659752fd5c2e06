"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const [PROCESS, FROM, TO, KIND, WORKLOAD, F, KEY, VALUE, ERROR, NODE, VERSION, REVISION, INDEX] = Array(13).keys();
  const COLOURS = { ok: "#1e88e5", fail: "#ec407a", info: "#ffb300" };
  const FAULTS = ["198,40,40", "106,27,154", "46,125,50", "0,131,143", "78,52,46", "158,157,36"];
  const LEFT = 74, TOP = 40, ROW = 18, BAR = 14;
  const at = (id) => document.getElementById(id);
  const canvas = at("canvas"), stage = at("stage"), tip = at("tip"), pen = canvas.getContext("2d");
  const end = Math.max(1, ...data.faults.map((f) => f[2]), ...[data.rows.reduce((m, r) => Math.max(m, r[TO] ?? r[FROM]), 0)]);
  const faultNames = [...new Set(data.faults.map((f) => f[0]))];
  let shown = [], lanes = [], from = 0, to = end, scroll = 0;

  const option = (list, value, label) => {
    const item = document.createElement("option");
    item.value = value;
    item.textContent = label ?? value;
    list.append(item);
  };
  option(at("workload"), "", "all");
  for (const name of [...new Set(data.rows.map((r) => r[WORKLOAD]))].sort()) option(at("workload"), name, name || "(none)");
  const number = (key) => Number(/\d+$/.exec(key)?.[0] ?? 0);
  const keys = [...new Set(data.rows.map((r) => r[KEY]).filter(Boolean))].sort((a, b) => number(a) - number(b) || a.localeCompare(b));
  for (const key of keys.slice(0, 2000)) option(at("keys"), key);

  // Processes that are never busy at the same time share a lane.
  const filter = () => {
    const workload = at("workload").value, key = at("key").value.trim();
    const kinds = new Set([...document.querySelectorAll(".kind:checked")].map((box) => box.value));
    shown = data.rows.filter((r) => (!workload || r[WORKLOAD] === workload) && (!key || r[KEY] === key) && kinds.has(r[KIND]));
    shown.sort((a, b) => a[FROM] - b[FROM]);
    const of = new Map();
    for (const row of shown) {
      if (!of.has(row[PROCESS])) of.set(row[PROCESS], []);
      of.get(row[PROCESS]).push(row);
    }
    lanes = [...of].sort((a, b) => a[0] - b[0]).map(([process, rows]) => ({ process, rows }));
    at("count").textContent = `${shown.length} of ${data.rows.length} operations, ${lanes.length} processes`;
    scroll = 0;
    draw();
  };

  const x = (time) => LEFT + ((time - from) / (to - from)) * (canvas.clientWidth - LEFT);
  const y = (lane) => TOP + lane * ROW - scroll;
  const name = (row) => `${row[F]} ${row[KEY]} ${row[VALUE]}`.replace(/ +/g, " ");

  const axis = (width) => {
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, width, TOP);
    pen.fillStyle = "#616161";
    pen.strokeStyle = "#e0e0e0";
    const span = to - from;
    const step = [1, 2, 5].flatMap((m) => [0, 1, 2, 3, 4, 5, 6, 7].map((e) => m * 10 ** e)).sort((a, b) => a - b).find((s) => span / s <= 10) ?? span;
    for (let time = Math.ceil(from / step) * step; time <= to; time += step) {
      pen.fillText(step >= 1e5 ? `${(time / 1e6).toFixed(step >= 1e6 ? 0 : 1)} s` : `${(time / 1e3).toFixed(step >= 1e3 ? 0 : 2)} ms`, x(time) + 3, 12);
      pen.beginPath();
      pen.moveTo(x(time), 0);
      pen.lineTo(x(time), canvas.clientHeight);
      pen.stroke();
    }
  };

  const faults = (height) => {
    data.faults.forEach(([fault, begin, stop]) => {
      if (stop < from || begin > to) return;
      const colour = FAULTS[faultNames.indexOf(fault) % FAULTS.length];
      const left = Math.max(LEFT, x(begin)), right = Math.max(left + 2, x(stop));
      pen.fillStyle = `rgba(${colour},.12)`;
      pen.fillRect(left, 0, right - left, height);
    });
  };

  const faultLabels = (width) => {
    let free = 0;
    data.faults.forEach(([fault, begin, stop]) => {
      if (stop < from || begin > to) return;
      const left = Math.max(LEFT, x(begin)) + 3;
      if (left < free || left > width) return;
      pen.fillStyle = `rgb(${FAULTS[faultNames.indexOf(fault) % FAULTS.length]})`;
      pen.fillText(fault, left, 28);
      free = left + pen.measureText(fault).width + 8;
    });
  };

  const bars = (width, height) => {
    lanes.forEach((lane, place) => {
      const top = y(place);
      if (top < TOP - ROW || top > height) return;
      let drawn = -1;
      for (const row of lane.rows) {
        if (row[FROM] > to) break;
        // What never ended is drawn to the edge, the rest to its end.
        const stop = row[TO] ?? end;
        if (stop < from) continue;
        const left = Math.max(LEFT, x(row[FROM])), right = Math.min(width, Math.max(left + 2, x(stop)));
        if (right < LEFT || (right <= drawn && row[KIND] === "ok")) continue;
        drawn = right;
        pen.globalAlpha = row[TO] === null ? 0.45 : 1;
        pen.fillStyle = COLOURS[row[KIND]];
        pen.fillRect(left, top, right - left, BAR);
        pen.globalAlpha = 1;
        if (right - left > 28) {
          pen.save();
          pen.beginPath();
          pen.rect(left, top, right - left - 2, BAR);
          pen.clip();
          pen.fillStyle = row[KIND] === "info" ? "#212121" : "#fff";
          pen.fillText(name(row), left + 3, top + 11);
          pen.restore();
        }
      }
      pen.fillStyle = "#fff";
      pen.fillRect(0, top, LEFT - 4, ROW);
      pen.fillStyle = "#757575";
      pen.fillText(`process ${lane.process}`, 4, top + 11);
    });
  };

  const draw = () => {
    const ratio = window.devicePixelRatio || 1, width = stage.clientWidth, height = stage.clientHeight;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.font = "11px system-ui, sans-serif";
    pen.clearRect(0, 0, width, height);
    scroll = Math.max(0, Math.min(scroll, lanes.length * ROW - (height - TOP)));
    bars(width, height);
    axis(width);
    faults(height);
    faultLabels(width);
  };

  const hit = (event) => {
    const box = canvas.getBoundingClientRect();
    const px = event.clientX - box.left, py = event.clientY - box.top;
    const lane = lanes[Math.floor((py - TOP + scroll) / ROW)];
    if (!lane || px < LEFT || py < TOP) return null;
    const time = from + ((px - LEFT) / (canvas.clientWidth - LEFT)) * (to - from);
    const slack = (3 / (canvas.clientWidth - LEFT)) * (to - from);
    let best = null;
    for (const row of lane.rows) {
      if (row[FROM] - slack > time) break;
      if ((row[TO] ?? end) + slack >= time) best = row;
    }
    return best;
  };

  const describe = (row) => {
    const lines = [
      `${row[KIND]}  ${name(row)}`,
      `process ${row[PROCESS]}, ${row[WORKLOAD]}, index ${row[INDEX]}`,
      `${(row[FROM] / 1e3).toFixed(3)} ms – ${row[TO] === null ? "never" : `${(row[TO] / 1e3).toFixed(3)} ms (${((row[TO] - row[FROM]) / 1e3).toFixed(3)} ms)`}`,
    ];
    const notes = [["manager", NODE], ["version", VERSION], ["revision", REVISION]].filter(([, place]) => row[place] !== null);
    if (notes.length) lines.push(notes.map(([label, place]) => `${label} ${row[place]}`).join(", "));
    if (row[ERROR]) lines.push(row[ERROR]);
    return lines.join("\n");
  };

  let dragged = null;
  stage.addEventListener("pointerdown", (event) => {
    dragged = { x: event.clientX, y: event.clientY, from, to, scroll };
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointerup", () => { dragged = null; });
  stage.addEventListener("pointerleave", () => { tip.hidden = true; });
  stage.addEventListener("pointermove", (event) => {
    if (dragged) {
      const moved = ((dragged.x - event.clientX) / (canvas.clientWidth - LEFT)) * (dragged.to - dragged.from);
      from = dragged.from + moved;
      to = dragged.to + moved;
      scroll = dragged.scroll + dragged.y - event.clientY;
      draw();
      return;
    }
    const row = hit(event);
    tip.hidden = !row;
    if (!row) return;
    tip.textContent = describe(row);
    const box = stage.getBoundingClientRect();
    tip.style.left = `${Math.max(0, Math.min(event.clientX - box.left + 14, box.width - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(0, Math.min(event.clientY - box.top + 14, box.height - tip.offsetHeight - 8))}px`;
  });
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (event.shiftKey) {
      scroll += event.deltaY || event.deltaX;
    } else {
      const box = canvas.getBoundingClientRect();
      const share = Math.max(0, (event.clientX - box.left - LEFT) / (canvas.clientWidth - LEFT));
      const span = Math.min(end * 1.2, Math.max(100, (to - from) * 1.2 ** Math.sign(event.deltaY)));
      const middle = from + share * (to - from);
      from = middle - share * span;
      to = from + span;
    }
    draw();
  }, { passive: false });
  at("whole").addEventListener("click", () => { from = 0; to = end; scroll = 0; draw(); });
  at("filters").addEventListener("input", filter);
  at("filters").addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("resize", draw);
  filter();
})();
