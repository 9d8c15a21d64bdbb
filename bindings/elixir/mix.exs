# The Mix project `senza`: no dependencies, so that no package manager is needed.
#
# The compiled part is built by cargo and put into `priv/`. Where SENZA_NIF names a library that is built already
# (without `.so`), that one is loaded, and cargo is left alone.

defmodule Mix.Tasks.Compile.SenzaNative do
  @moduledoc false
  use Mix.Task.Compiler

  @impl true
  def run(_args) do
    if System.get_env("SENZA_NIF"), do: {:noop, []}, else: build()
  end

  defp build do
    profile = if Mix.env() == :prod, do: "dist", else: "release"
    manifest = Path.expand("native/Cargo.toml", __DIR__)

    arguments = [
      "build",
      "--manifest-path",
      manifest,
      "--profile",
      profile,
      "--message-format",
      "json-render-diagnostics"
    ]

    {out, status} = System.cmd("cargo", arguments)
    if status != 0, do: Mix.raise("cargo could not build the compiled part of senza, see above")
    [_, library] = Regex.run(~r/"filenames":\["([^"]*libsenza_elixir\.so)"/, out)
    File.mkdir_p!("priv")
    File.cp!(library, "priv/libsenza_elixir.so")
    {:ok, []}
  end
end

defmodule Senza.MixProject do
  use Mix.Project

  def project do
    [
      app: :senza,
      version: "0.1.0",
      elixir: "~> 1.14",
      description: "A sharded in-memory data plane for sensor fleets, embedded in your VM",
      compilers: [:senza_native] ++ Mix.compilers(),
      deps: []
    ]
  end

  def application, do: [extra_applications: [:logger]]
end
