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

  # SENZA_PROFILE=dist takes minutes longer, and is faster.
  defp build do
    profile = System.get_env("SENZA_PROFILE", "release")
    manifest = Path.expand("native/Cargo.toml", __DIR__)
    arguments = ["build", "--manifest-path", manifest, "--profile", profile]
    unless System.find_executable("cargo"), do: Mix.raise("cargo is missing: install Rust, https://rustup.rs")
    {messages, status} = System.cmd("cargo", arguments ++ ["--message-format", "json-render-diagnostics"])
    if status != 0, do: Mix.raise("cargo could not build the compiled part of senza, see above")
    [_, library] = Regex.run(~r/"filenames":\["([^"]*libsenza_elixir\.so)"/, messages)
    install(library, Path.expand("priv/libsenza_elixir.so", __DIR__))
  end

  # A new file under the old name: a VM that has loaded the old one goes on with it.
  defp install(library, to) do
    if File.exists?(to) and File.read!(to) == File.read!(library) do
      {:noop, []}
    else
      File.mkdir_p!(Path.dirname(to))
      File.cp!(library, to <> ".new")
      File.rename!(to <> ".new", to)
      # The build's own `priv` was looked for before there was one.
      Mix.Project.build_structure()
      {:ok, []}
    end
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
