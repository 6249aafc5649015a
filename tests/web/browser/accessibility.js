// What a person would miss: text without contrast (WCAG AA), targets that a finger misses, content wider than the screen,
// headings that skip a level, ids that stand twice.
() => {
  const parse = (text) => {
    const [red, green, blue, alpha = 1] = text.match(/[\d.]+/g).map(Number);
    return { red, green, blue, alpha };
  };
  const over = (top, ground) => {
    const mix = (name) => top[name] * top.alpha + ground[name] * (1 - top.alpha);
    return { red: mix("red"), green: mix("green"), blue: mix("blue"), alpha: 1 };
  };
  const luminance = ({ red, green, blue }) => {
    const [r, g, b] = [red, green, blue].map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), { red: 255, green: 255, blue: 255, alpha: 1 });
  };
  const visible = (element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest(".hidden");
  const name = (element) => `${element.tagName} #${element.id} .${element.getAttribute("class")} ${element.textContent.trim().slice(0, 30)}`;

  const low = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !visible(element) || element.closest("#stage, .skip, :disabled")) continue;
    const style = getComputedStyle(element);
    const color = parse(element.namespaceURI.endsWith("svg") ? style.fill : style.color);
    const below = ground(element);
    const ratio = contrast(over(color, below), below);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) low.push(`${name(element)}: ${ratio.toFixed(2)}`);
  }
  for (const element of document.querySelectorAll("button, input, select")) {
    if (!visible(element) || element.disabled || element.matches(".plain, .handle, .chip, .place-row, [type=range]")) continue;
    const edge = parse(getComputedStyle(element).borderTopColor);
    const ratio = contrast(edge, ground(element.parentElement));
    if (ratio < 3) low.push(`edge of ${name(element)}: ${ratio.toFixed(2)}`);
  }

  const small = [...document.querySelectorAll("button, input, select, summary, a[href]:not(.skip)")]
    .filter(visible)
    .filter((element) => {
      const { width, height } = element.getBoundingClientRect();
      return width < 44 || height < 44;
    })
    .map(name);

  const levels = [...document.querySelectorAll("h1, h2, h3, h4")].filter((element) => element.checkVisibility()).map((element) => Number(element.tagName[1]));
  const headings = levels.filter((level, index) => level > (levels[index - 1] ?? 0) + 1);
  const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
  const overflow = Math.max(0, document.documentElement.scrollWidth - innerWidth);
  return { contrast: low, small, overflow, headings, ids: ids.filter((id, index) => ids.indexOf(id) !== index) };
}
