"use strict";
// The page's own script: definitions on hover, tabs, pictures in full size, copying, curves.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (name, properties = {}) => Object.assign(document.createElement(name), properties);

  // Definitions: shown while a term is pointed at or has the focus; Escape hides them.
  const tip = document.getElementById("tip");
  let explained = null; // the term whose definition is shown
  const hideTip = () => {
    explained = null;
    tip.hidden = true;
    all("[aria-describedby='tip']").forEach((term) => term.removeAttribute("aria-describedby"));
  };
  const showTip = (term) => {
    hideTip();
    explained = term;
    tip.textContent = term.dataset.about;
    tip.hidden = false;
    term.setAttribute("aria-describedby", "tip");
    const at = term.getBoundingClientRect();
    const room = document.documentElement.clientWidth - tip.offsetWidth - 12;
    tip.style.left = `${Math.max(12, Math.min(at.left, room))}px`;
    const below = at.bottom + 8;
    const fits = below + tip.offsetHeight < window.innerHeight;
    tip.style.top = `${fits ? below : Math.max(8, at.top - tip.offsetHeight - 8)}px`;
  };
  all(".term").forEach((term) => {
    term.addEventListener("mouseenter", () => showTip(term));
    term.addEventListener("focus", () => showTip(term));
    term.addEventListener("mouseleave", hideTip);
    term.addEventListener("blur", hideTip);
  });
  document.addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
  // The focus may have scrolled the page: the definition follows its term.
  document.addEventListener("scroll", () => explained && showTip(explained), { passive: true });

  // Tabs: without this script all galleries stand below each other.
  all(".tabs").forEach((box) => {
    const panels = all(".panel", box);
    const list = make("div");
    list.setAttribute("role", "tablist");
    list.setAttribute("aria-label", "Galleries");
    const tabs = panels.map((panel) => {
      const tab = make("button", { type: "button", id: `tab-${panel.id}` });
      tab.textContent = panel.getAttribute("aria-label");
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", panel.id);
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", tab.id);
      panel.removeAttribute("aria-label");
      return tab;
    });
    const choose = (index) => {
      tabs.forEach((tab, i) => {
        tab.setAttribute("aria-selected", String(i === index));
        tab.tabIndex = i === index ? 0 : -1;
        panels[i].hidden = i !== index;
      });
    };
    tabs.forEach((tab, index) => {
      tab.addEventListener("click", () => choose(index));
      tab.addEventListener("keydown", (event) => {
        const last = tabs.length - 1;
        const next = {
          ArrowRight: index === last ? 0 : index + 1,
          ArrowLeft: index === 0 ? last : index - 1,
          Home: 0,
          End: last,
        }[event.key];
        if (next === undefined) return;
        event.preventDefault();
        choose(next);
        tabs[next].focus();
      });
    });
    list.append(...tabs);
    box.prepend(list);
    choose(Math.max(0, panels.findIndex((panel) => panel.querySelector("figure"))));
  });

  // Pictures of one thing over training: one at a time, chosen by a slider; the last one first.
  all("[data-steps]").forEach((panel) => {
    const figures = all("figure", panel);
    if (figures.length < 2) return;
    const label = make("label", { className: "slider" });
    const input = make("input", { type: "range", min: 0, max: figures.length - 1, step: 1 });
    input.value = figures.length - 1;
    const words = make("output");
    const show = () => {
      figures.forEach((figure, i) => (figure.hidden = i !== Number(input.value)));
      words.textContent = figures[input.value].querySelector("figcaption").textContent;
      input.setAttribute("aria-valuetext", words.textContent);
    };
    input.addEventListener("input", show);
    label.append("During training", input, words);
    figures[0].before(label);
    show();
  });

  // Pictures in full size.
  const full = document.getElementById("full");
  all(".zoom").forEach((button) => {
    button.addEventListener("click", () => {
      const small = button.querySelector("img");
      const large = full.querySelector("img");
      large.src = small.src;
      large.alt = small.alt;
      full.showModal();
    });
  });
  full.addEventListener("click", (event) => event.target === full && full.close());

  // Copying: through a selection, since the clipboard is closed to pages that lie in a file.
  all(".copy").forEach((button) => {
    button.addEventListener("click", () => {
      const range = document.createRange();
      range.selectNodeContents(button.parentElement.querySelector("code"));
      const selection = window.getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      button.textContent = document.execCommand("copy") ? "Copied" : "Press Ctrl-C";
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
  });

  // Curves.
  const panels = JSON.parse(document.getElementById("panels").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const smoothing = document.getElementById("smoothing");
  const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const channels = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  // The same hue, darker on light paper or lighter on dark paper, until a line of it can be seen.
  const legible = (hex) => {
    const paper = luminance(channels(variable("--paper")));
    const aim = paper > 0.5 ? 0 : 255;
    let rgb = channels(hex);
    const contrast = () => {
      const [low, high] = [luminance(rgb), paper].sort((a, b) => a - b);
      return (high + 0.05) / (low + 0.05);
    };
    for (let i = 0; i < 20 && contrast() < 2.6; i++) rgb = rgb.map((c) => c + 0.1 * (aim - c));
    return `rgb(${rgb.map(Math.round).join(",")})`;
  };

  // Sum and weight of what lies before each point, the nearer the heavier.
  const weighed = (x, y, width) => {
    let [sum, weight, last] = [0, 0, x[0]];
    return x.map((step, i) => {
      const keep = Math.exp(-Math.abs(step - last) / width);
      [sum, weight, last] = [sum * keep + (y[i] ?? 0), weight * keep + (y[i] === null ? 0 : 1), step];
      return [sum, weight];
    });
  };
  // Average over the steps before and after, so that nothing is delayed; gaps stay gaps. Where
  // points were left out, it is over the means of all of them.
  const smooth = (line, width) => {
    const y = (line.mean ?? line.y).map((value, i) => (line.y[i] === null ? null : value));
    const before = weighed(line.x, y, width);
    const after = weighed([...line.x].reverse(), [...y].reverse(), width).reverse();
    return y.map((value, i) =>
      value === null ? null : (before[i][0] + after[i][0] - value) / (before[i][1] + after[i][1] - 1));
  };

  // Lines that a button of the page's key hides in all plots.
  const keys = all(".key");
  const isHidden = (line) => keys.some((key) => key.dataset.key === String(line.key) && key.getAttribute("aria-pressed") === "false");

  // The area between two curves, piece by piece where there are gaps.
  const band = (line, low, high) => {
    const [x, y, piece] = [[], [], []];
    const close = () => {
      if (!piece.length) return;
      x.push(...piece.map((i) => line.x[i]), ...[...piece].reverse().map((i) => line.x[i]), null);
      y.push(...piece.map((i) => high[i]), ...[...piece].reverse().map((i) => low[i]), null);
      piece.length = 0;
    };
    line.x.forEach((_, i) => (low[i] === null || high[i] === null ? close() : piece.push(i)));
    close();
    return { x, y, type: "scatter", mode: "lines", fill: "toself", line: { width: 0 }, hoverinfo: "skip",
             fillcolor: legible(line.colour).replace("rgb", "rgba").replace(")", ",0.18)"), showlegend: false };
  };

  // Names of settings and values, each in a line of its own where a page is narrow.
  const brief = (name) => (window.innerWidth < 600 ? name.replaceAll(", ", ",<br>") : name);

  const traces = (panel, width) =>
    panel.lines.filter((line) => !isHidden(line)).flatMap((line) => {
      const validation = line.split === "validation";
      const few = line.x.length < 30;
      const other = panel.lines.some((one) => one.name === line.name && one.split !== line.split);
      const base = {
        x: line.x,
        y: line.y,
        type: "scatter",
        mode: validation || few ? "lines+markers" : "lines",
        name: validation && other ? `${line.name}, validation` : panel.axis ? brief(line.name) : line.name,
        legendgroup: line.name, // hides training and validation together
        showlegend: !(validation && other),
        line: { color: legible(line.colour), width: 1.7, dash: line.dash ?? (validation && other ? "dot" : "solid") },
        marker: { size: 4 },
        connectgaps: false,
        hovertemplate: "%{y:.5~g}",
      };
      if (panel.axis) {
        const bars = line.high && { type: "data", array: line.high.map((value, i) => value - line.y[i]), thickness: 1.2, width: 4 };
        return [{ ...base, marker: { size: 6 }, ...(bars ? { error_y: bars } : {}) }];
      }
      if (line.low) {
        const [y, low, high] = [line.y, line.low, line.high].map((values) => (width ? smooth({ x: line.x, y: values }, width) : values));
        return [band(line, low, high), { ...base, y }];
      }
      if (!width || validation) return [base];
      const pale = { ...base, opacity: 0.25, showlegend: false, hoverinfo: "skip", hovertemplate: null };
      return [pale, { ...base, y: smooth(line, width), mode: "lines" }];
    });

  const longest = (panel) => Math.max(...panel.lines.map((line) => line.x[line.x.length - 1]));

  // The horizontal axis: training steps, or a setting with its values as ticks.
  const across = (panel) => {
    if (!panel.axis) return { range: [0, 1.02 * longest(panel)], hoverformat: ",d", unifiedhovertitle: { text: "step %{x:,d}" } };
    const { title, ticks, log } = panel.axis;
    return { type: log ? "log" : "linear", tickvals: ticks, ticktext: ticks.map(String),
             title: { text: title, standoff: 8 }, hoverformat: "~g", unifiedhovertitle: { text: `${title} %{x:~g}` } };
  };

  const layout = (panel, logarithmic) => {
    const axis = { gridcolor: variable("--line"), zeroline: false, linecolor: variable("--line"), automargin: true };
    const goal = panel.goal === null ? [] : [panel.goal];
    return {
      margin: { l: 52, r: 10, t: 8, b: 28 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: variable("--soft"), size: 12, family: getComputedStyle(document.body).fontFamily },
      xaxis: { ...axis, ...across(panel) },
      yaxis: {
        ...axis,
        type: logarithmic ? "log" : "linear",
        exponentformat: "power",
        ...(logarithmic ? { dtick: null, nticks: 6 } : {}),
      },
      hovermode: "x unified",
      hoverlabel: { bgcolor: variable("--raised"), bordercolor: variable("--line"), font: { color: variable("--ink") } },
      showlegend: new Set(panel.lines.map((line) => line.name)).size > 1 && panel.lines[0].key === undefined,
      legend: { orientation: "h", y: panel.axis ? -0.24 : -0.12, yanchor: "top", x: 0, font: { size: 12 } },
      dragmode: window.matchMedia("(pointer: coarse)").matches ? false : "zoom",
      shapes: goal.map((y) => ({
        type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y,
        line: { color: variable("--ink"), width: 1, dash: "dash" },
        label: { text: `goal ${Number(y.toPrecision(5))}`, textposition: "start", font: { size: 11, color: variable("--ink") } },
      })),
      modebar: { bgcolor: "rgba(0,0,0,0)", color: variable("--soft"), activecolor: variable("--link") },
      uirevision: "stay", // the zoom
    };
  };

  const draw = (figure) => {
    const panel = panels[figure.dataset.panel];
    const log = figure.querySelector(".log");
    const canvas = figure.querySelector(".canvas");
    const options = {
      responsive: true,
      displaylogo: false,
      displayModeBar: "hover",
      doubleClick: "reset",
      modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
      toImageButtonOptions: { format: "svg", filename: panel.title.replace(/\W+/g, "_") },
    };
    const logarithmic = log !== null && log.getAttribute("aria-pressed") === "true";
    return Plotly.react(canvas, traces(panel, Number(smoothing?.value ?? 0) * longest(panel)), layout(panel, logarithmic), options);
  };
  const plots = all(".plot");
  const drawAll = () => plots.forEach(draw);
  if (plots.length) {
    // Of a long run single rows are a blur: they start out pale, behind their average.
    if (panels.some((panel) => panel.lines.some((line) => line.mean))) smoothing.value = "0.005";
    plots.forEach((figure) => {
      const log = figure.querySelector(".log");
      log?.addEventListener("click", () => {
        log.setAttribute("aria-pressed", String(log.getAttribute("aria-pressed") !== "true"));
        draw(figure);
      });
    });
    smoothing?.addEventListener("change", drawAll);
    const press = (some, pressed) => {
      some.forEach((key) => key.setAttribute("aria-pressed", String(pressed)));
      drawAll();
    };
    keys.forEach((key) => key.addEventListener("click", () => press([key], key.getAttribute("aria-pressed") !== "true")));
    all("[data-all]").forEach((button) => button.addEventListener("click", () => press(keys, button.dataset.all === "true")));
    dark.addEventListener("change", drawAll);
    drawAll();
  }
})();
