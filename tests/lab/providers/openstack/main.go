// Command pulumi-resource-openstack stands in for Pulumi's own OpenStack provider in the lab: the real Terraform
// provider behind Pulumi's Terraform bridge, with the types of types.txt and no others. It serves no cloud but one on
// this machine: whatever leads elsewhere, the identity service or an endpoint of its catalogue, is refused.
package main

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/hashicorp/terraform-plugin-sdk/v2/diag"
	"github.com/hashicorp/terraform-plugin-sdk/v2/helper/schema"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/terraform-provider-openstack/terraform-provider-openstack/v3/openstack"
)

// version is that of the Python SDK, which asks for a plugin of its own version; the linker sets it.
var version = "0.0.0"

//go:embed types.txt
var types string

func main() {
	schema := fmt.Sprintf(`{"name":"openstack","version":%q}`, version)
	tfbridge.Main("openstack", version, bridge(), []byte(schema))
}

func bridge() tfbridge.ProviderInfo {
	provider := loopbackOnly(openstack.Provider())
	info := tfbridge.ProviderInfo{
		P:            shim.NewProvider(provider),
		Name:         "openstack",
		Version:      version,
		Resources:    map[string]*tfbridge.ResourceInfo{},
		DataSources:  map[string]*tfbridge.DataSourceInfo{},
		MetadataInfo: tfbridge.NewProviderMetadata([]byte("{}")),
	}
	for _, line := range strings.Split(types, "\n") {
		words := strings.Fields(line)
		if len(words) != 2 {
			continue
		}
		terraform, token := words[0], words[1]
		if member := token[strings.LastIndex(token, ":")+1:]; strings.HasPrefix(member, "get") {
			info.DataSources[terraform] = &tfbridge.DataSourceInfo{Tok: tokens.ModuleMember(token)}
		} else {
			info.Resources[terraform] = &tfbridge.ResourceInfo{Tok: tokens.Type(token)}
		}
	}
	for name := range provider.ResourcesMap {
		if info.Resources[name] == nil && info.DataSources[name] == nil {
			info.IgnoreMappings = append(info.IgnoreMappings, name)
		}
	}
	for name := range provider.DataSourcesMap {
		if info.DataSources[name] == nil && info.Resources[name] == nil {
			info.IgnoreMappings = append(info.IgnoreMappings, name)
		}
	}
	return info
}

// loopbackOnly makes a provider that refuses to be configured for, and to speak with, another machine.
func loopbackOnly(provider *schema.Provider) *schema.Provider {
	configure := provider.ConfigureContextFunc
	provider.ConfigureContextFunc = func(ctx context.Context, values *schema.ResourceData) (any, diag.Diagnostics) {
		// with the first token asked for later, nothing is sent before the address was looked at
		if err := values.Set("delayed_auth", true); err != nil {
			return nil, diag.FromErr(err)
		}
		made, problems := configure(ctx, values)
		if problems.HasError() {
			return nil, problems
		}
		config, ok := made.(*openstack.Config)
		if !ok {
			return nil, diag.Errorf("the Terraform provider is configured by %T, which this bridge does not know", made)
		}
		identity, err := url.Parse(config.OsClient.IdentityBase)
		if err != nil {
			return nil, diag.FromErr(err)
		}
		if err := refuseAbroad(identity); err != nil {
			return nil, diag.FromErr(err)
		}
		config.OsClient.HTTPClient.Transport = guarded{config.OsClient.HTTPClient.Transport}
		return made, problems
	}
	return provider
}

// guarded refuses requests to other machines, such as a catalogue may name.
type guarded struct{ inner http.RoundTripper }

func (g guarded) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := refuseAbroad(request.URL); err != nil {
		return nil, err
	}
	return g.inner.RoundTrip(request)
}

func refuseAbroad(address *url.URL) error {
	if ip := net.ParseIP(address.Hostname()); ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("%s is not on this machine's loopback; this bridge is the lab's stand-in and speaks with no "+
		"real cloud: install Pulumi's own openstack provider for one", address.Host)
}
