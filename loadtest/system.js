// The system under test, as a client of its gateway sees it.

import http from 'k6/http';
import { fail, sleep } from 'k6';
import { settings } from './settings.js';

const PAGE = 200;
const POLL_SECONDS = 0.2;
const JSON_HEADERS = { 'Content-Type': 'application/json' };

export function post(path, body, tags) {
  return http.post(settings.baseUrl + path, JSON.stringify(body), { headers: JSON_HEADERS, tags });
}

// Returns the product's id.
export function createProduct(name, qty) {
  const response = post('/products', { name, price: '19.90', qty }, { name: 'POST /products' });
  if (response.status !== 201) {
    fail(`POST /products at ${settings.baseUrl} answered ${response.status} ${response.error}`);
  }
  return response.json('data.id');
}

export function readProducts(ids) {
  return getAll(ids.map((id) => `/products/${id}`)).map((body) => body.data);
}

// Waits until no order of these products is pending, for at most `limit` milliseconds.
export function settle(ids, limit) {
  const deadline = Date.now() + limit;
  const paths = ids.map((id) => `/orders?productId=${id}&status=pending&limit=1`);
  while (getAll(paths).some((body) => body.data.length > 0)) {
    if (Date.now() > deadline) {
      return;
    }
    sleep(POLL_SECONDS);
  }
}

// Calls `visit` with every order of these products.
export function eachOrder(ids, visit) {
  let paths = ids.map((id) => `/orders?productId=${id}&limit=${PAGE}`);
  while (paths.length > 0) {
    const next = [];
    getAll(paths).forEach((body, position) => {
      body.data.forEach(visit);
      if (body.page.next) {
        next.push(`${paths[position].split('&cursor=')[0]}&cursor=${encodeURIComponent(body.page.next)}`);
      }
    });
    paths = next;
  }
}

function getAll(paths) {
  const requests = paths.map((path) => ['GET', settings.baseUrl + path, null, { tags: { name: 'GET' } }]);
  return http.batch(requests).map((response, position) => {
    if (response.status !== 200) {
      fail(`GET ${paths[position]} answered ${response.status} ${response.error}`);
    }
    return response.json();
  });
}
