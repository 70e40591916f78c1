/**
 * What this host offers to move data with: the libfabric found and its providers.
 */
import type { NativeFabricInfo, NativeProviderInfo } from './native.js';
import { stringOption } from './options.js';
import { runtime } from './runtime.js';

/** One way to reach peers. */
export type ProviderInfo = Readonly<NativeProviderInfo>;
/** libfabric, or why it could not be loaded, and the usable providers, best first. */
export type FabricInfo = Readonly<NativeFabricInfo>;

/**
 * Looks for libfabric and the providers that `provider` ('auto', an exact name, or several with commas) allows. Never
 * rejects for a missing libfabric: `library` then says why. NATIVE_MISSING when the addon is not built.
 */
export function fabricInfo(provider: string = 'auto'): Promise<FabricInfo> {
  const wanted = stringOption('provider', provider, 'auto');
  const { binding } = runtime();
  return runtime().call<NativeFabricInfo>((id) => binding.fabricInfo(id, wanted));
}
