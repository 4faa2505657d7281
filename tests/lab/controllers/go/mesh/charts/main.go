// Command charts renders a chart from a folder: a request as JSON comes in, a stream of YAML documents goes out, those of
// kinds first. Nothing but Helm's own engine has a say, and no cluster is asked.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
)

// between is what Helm takes for the end of a document: it need not stand on a line of its own.
var between = regexp.MustCompile(`(?:^|\s*\n)---\s*`)

// request says what is to be rendered, for which cluster.
type request struct {
	Folder     string         `json:"folder"`
	Name       string         `json:"name"`
	Namespace  string         `json:"namespace"`
	Kubernetes string         `json:"kubernetes"` // a version
	Values     map[string]any `json:"values"`
}

func main() {
	if err := render(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func render(in io.Reader, out io.Writer) error {
	var wanted request
	decoder := json.NewDecoder(in)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&wanted); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	chart, err := loader.LoadDir(wanted.Folder)
	if err != nil {
		return fmt.Errorf("chart in %s: %w", wanted.Folder, err)
	}
	version, err := common.ParseKubeVersion(wanted.Kubernetes)
	if err != nil {
		return fmt.Errorf("version of Kubernetes: %w", err)
	}
	capabilities := *common.DefaultCapabilities
	capabilities.KubeVersion = *version
	options := common.ReleaseOptions{Name: wanted.Name, Namespace: wanted.Namespace, Revision: 1, IsInstall: true}
	values, err := util.ToRenderValues(chart, wanted.Values, options, &capabilities)
	if err != nil {
		return fmt.Errorf("values of %s: %w", wanted.Name, err)
	}
	files, err := engine.Render(chart, values)
	if err != nil {
		return fmt.Errorf("templates of %s: %w", wanted.Name, err)
	}
	for _, kind := range chart.CRDObjects() {
		write(out, string(kind.File.Data))
	}
	names := make([]string, 0, len(files))
	for name := range files {
		if !strings.HasSuffix(name, "NOTES.txt") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		write(out, files[name])
	}
	return nil
}

func write(out io.Writer, file string) {
	for _, document := range between.Split(file, -1) {
		if strings.TrimSpace(document) != "" {
			fmt.Fprintf(out, "---\n%s\n", document)
		}
	}
}
