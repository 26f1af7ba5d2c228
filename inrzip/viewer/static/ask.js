// Questions to the server, beside whose page this is.

// {shape, data} of bytes. Raises an Error whose text is for the user.
export async function ask(number, what, query, signal) {
  const response = await answer(number, what, query, signal);
  const shape = response.headers.get("X-Shape").split(",").map(Number);
  return { shape, data: new Uint8Array(await response.arrayBuffer()) };
}

export async function askFacts(number, what) { return (await answer(number, what, {})).json(); }

async function answer(number, what, query, signal) {
  let response;
  try {
    response = await fetch(`api/${number}/${what}?${new URLSearchParams(query)}`, { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("inrzip view does not answer any more: it was ended, start it again");
  }
  if (!response.ok) {
    let text = `the server says ${response.status}`;
    try { text = (await response.json()).error || text; } catch { /* no JSON */ }
    throw new Error(text);
  }
  return response;
}

export async function signals() {
  const response = await fetch("api/signals");
  if (!response.ok) throw new Error(`the server says ${response.status}`);
  return response.json();
}
