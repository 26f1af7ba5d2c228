"""The look of the report, and the one thing it does: show the original in place of a decoded picture."""

PAGE_STYLE = """
:root { color-scheme: light; --ink: #212529; --soft: #6c757d; --line: #dee2e6; }
* { box-sizing: border-box; }
body { margin: 0; background: #f8f9fa; color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
header { position: sticky; top: 0; z-index: 2; display: flex; flex-wrap: wrap; gap: 0 1.5rem; align-items: baseline;
  padding: .6rem 1.5rem; background: #fffffff2; border-bottom: 1px solid var(--line); }
h1 { font-size: 1.15rem; margin: 0; }
nav a { margin-right: 1rem; color: #1864ab; text-decoration: none; }
main { max-width: 1180px; margin: 0 auto; padding: 1rem 1.5rem 4rem; }
section { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 1.2rem 1.6rem;
  margin: 1.2rem 0; scroll-margin-top: 4rem; }
h2 { margin: 0 0 .2rem; } h3 { margin: 1.6rem 0 .5rem; font-size: 1.02rem; }
small, .items, .fine, .none { color: var(--soft); } small { font-weight: normal; }
.items { margin: 0 0 .8rem; font-size: .9rem; } .fine { font-size: .85rem; }
.headline { font-size: 1.2rem; margin: .4rem 0 .8rem; }
.notes { background: #fff3bf; border-radius: 10px; padding: .7rem 1.2rem .7rem 2.2rem; }
figure { margin: 0; } svg { width: 100%; height: auto; }
.main { max-width: 900px; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(270px, 1fr)); gap: 1rem; margin-top: 1rem; }
.row { display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); gap: .9rem; }
.row img { width: 100%; display: block; border-radius: 4px; }
.row figure:first-child img { outline: 2px solid #adb5bd; }
figcaption { font-size: .85rem; line-height: 1.35; margin-top: .3rem; }
td:first-child { white-space: nowrap; }
table { border-collapse: collapse; margin: 1rem 0; font-size: .88rem; width: 100%; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
th { text-align: left; font-weight: 600; } th, td { padding: .28rem .6rem; border-bottom: 1px solid #f1f3f5; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.weak { color: #adb5bd; }
td i { display: inline-block; width: .75em; height: .75em; border-radius: 50%; margin-right: .5em; }
.bar { position: relative; width: 170px; height: 1.2em; 
  background: linear-gradient(#ced4da, #ced4da) 50% 0 / 1px 100% no-repeat; }
div.bar span { position: absolute; top: 25%; height: 50%; border-radius: 2px; }
details { margin-top: .9rem; } summary { cursor: pointer; color: #1864ab; } .wide { overflow-x: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; font-size: .9rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
"""

PAGE_SCRIPT = """
for (const row of document.querySelectorAll('.row')) {
  const images = [...row.querySelectorAll('img')];
  for (const image of images.slice(1)) {
    const own = image.src;
    image.addEventListener('pointerenter', () => { image.src = images[0].src; });
    image.addEventListener('pointerleave', () => { image.src = own; });
  }
}
"""
